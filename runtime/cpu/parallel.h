// A loop over independent chunks of work on a thread pool that others may be using too.
#pragma once

#include <cstdint>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/Support/ThreadPool.h>

namespace mhcjit::runtime::cpu {

// Calls body(i) once for each i in [0, count), in any order, from the calling thread and the pool's. The caller takes
// chunks as well, so a busy pool slows a call down and cannot block it. `body` must not throw.
void parallel_for(llvm::ThreadPoolInterface& pool, std::int64_t count, llvm::function_ref<void(std::int64_t)> body);

}  // namespace mhcjit::runtime::cpu
