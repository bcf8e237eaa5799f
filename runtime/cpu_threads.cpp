#include "runtime/cpu_threads.h"

#include <llvm/Support/Threading.h>

#include "runtime/fork_guard.h"
#include "support/error.h"

namespace mhcjit::runtime {

CpuThreads::~CpuThreads() {
  // In a forked child nobody is there to join: destroying the pool would wait for ever.
  if (pool_ && generation_ != fork_generation()) static_cast<void>(pool_.release());
}

llvm::ThreadPoolInterface& CpuThreads::pool() {
  const std::lock_guard lock(mutex_);
  if (!pool_) {
    generation_ = fork_generation();
    pool_ = std::make_unique<llvm::DefaultThreadPool>(llvm::hardware_concurrency(static_cast<unsigned>(count_)));
  }
  return *pool_;
}

llvm::Error CpuThreads::check_not_forked() {
  const std::lock_guard lock(mutex_);
  if (!pool_ || generation_ == fork_generation()) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_FORKED,
                    "this process was forked after its parent had started this engine's CPU threads, which a child "
                    "does not have; create an engine after the fork");
}

}  // namespace mhcjit::runtime
