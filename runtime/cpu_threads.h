// The threads of an engine's CPU path, started when they are first needed.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include <llvm/Support/Error.h>
#include <llvm/Support/ThreadPool.h>

namespace mhcjit::runtime {

// Thread-safe.
class CpuThreads {
 public:
  // `count` 0: one per core.
  explicit CpuThreads(int count) : count_(count) {}
  ~CpuThreads();

  llvm::ThreadPoolInterface& pool();

  // FORKED when the threads were started by a parent of this process: they do not exist here.
  llvm::Error check_not_forked();

 private:
  const int count_;
  std::mutex mutex_;
  std::unique_ptr<llvm::ThreadPoolInterface> pool_;
  std::uint32_t generation_ = 0;  // of the process that made pool_
};

}  // namespace mhcjit::runtime
