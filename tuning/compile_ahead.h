// Compiles plans on threads of their own while others are timed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "support/error.h"
#include "support/threads.h"
#include "tuning/space.h"

namespace mhcjit::tuning {

// The result of a compile. Its cubins stay in the cache folder.
struct Compiled {
  std::optional<Failure> failure = {};
  int spill_bytes = 0;  // a thread's, stored and loaded
};

// Functions that compile; thread-safe.
struct Compiler {
  std::function<Compiled(const codegen::PlanPtr&)> compile;
  // Compiles the kernels that make a row's inputs.
  std::function<void(const codegen::Problem&)> compile_inputs;
};

class CompileAhead {
 public:
  // Begins with the first of `plans`. The kernels for a problem's inputs come before its first plan.
  CompileAhead(const Compiler& compiler, std::vector<codegen::PlanPtr> plans, unsigned threads);
  // Leaves out the compiles that have not begun.
  ~CompileAhead();

  // Waits for a plan; one that is not among those of the constructor is compiled now.
  Compiled get(const codegen::PlanPtr& plan);

 private:
  void work();

  const Compiler& compiler_;
  const std::vector<codegen::PlanPtr> plans_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<codegen::PlanPtr, std::optional<Compiled>> results_;  // each plan's; no value: not compiled yet
  Threads threads_;
};

}  // namespace mhcjit::tuning
