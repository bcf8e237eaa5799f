// The operators on host memory, for machines without a GPU and as a check of the kernels.
//
// fp32-class accuracy for every dtype; any n of 1..16 and any D. The bits depend neither on the number of threads nor,
// for the outputs of a token, on T or on where the token stands. Returns when the outputs are written.
//
// Arguments are validated by the caller: required pointers are not null and aligned to their element, the workspace has
// its bytes and is aligned to 16. Optional pointers may be null as their headers say. Beside the workspace
// only fixed scratch on the stack of each thread is used, below 64 KiB: mhcjit/engine.h says what a caller needs.
//
// `threads` is that of parallel_for() in support/threads.h: 1 runs everything on the caller's own, 0 on one a core.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codegen/problem.h"

namespace mhcjit::runtime::cpu {

struct Implementation {
  const codegen::Operator* op;
  std::size_t (*workspace_bytes)(const codegen::Problem& problem, std::int64_t T);
  // `args` is the operator's public argument struct.
  void (*run)(const codegen::Problem& problem, const void* args, unsigned threads);
};

// nullptr where the operator has none.
const Implementation* find_implementation(const codegen::Operator& op);

}  // namespace mhcjit::runtime::cpu
