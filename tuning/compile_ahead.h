// Plans compiled on threads of their own while others are timed.
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

// What became of a compile, whose cubins stay in the cache folder.
struct Compiled {
  std::optional<Failure> failure = {};
  int spill_bytes = 0;  // of a thread, stored and loaded
};

// What compiles; thread-safe.
struct Compiler {
  std::function<Compiled(const codegen::PlanPtr&)> compile;
  // What a row's inputs are made with.
  std::function<void(const codegen::Problem&)> compile_inputs;
};

class CompileAhead {
 public:
  // Begins with the first of `plans`; what a problem's inputs need comes before its first plan.
  CompileAhead(const Compiler& compiler, std::vector<codegen::PlanPtr> plans, unsigned threads);
  // Leaves out what has not begun.
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
  std::map<codegen::PlanPtr, std::optional<Compiled>> results_;  // of each plan; no value: not compiled yet
  Threads threads_;
};

}  // namespace mhcjit::tuning
