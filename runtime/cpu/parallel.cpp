#include "runtime/cpu/parallel.h"

#include <algorithm>
#include <atomic>

namespace mhcjit::runtime::cpu {

void parallel_for(llvm::ThreadPoolInterface& pool, std::int64_t count, llvm::function_ref<void(std::int64_t)> body) {
  std::atomic<std::int64_t> next = 0;
  const auto work = [&] {
    for (std::int64_t i = next++; i < count; i = next++) body(i);
  };
  // The group's destructor waits, so that nothing above is left behind even when starting a task throws.
  llvm::ThreadPoolTaskGroup group(pool);
  const std::int64_t helpers = std::min<std::int64_t>(pool.getMaxConcurrency(), count) - 1;
  for (std::int64_t i = 0; i < helpers; ++i) group.async(work);
  work();
}

}  // namespace mhcjit::runtime::cpu
