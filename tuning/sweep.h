// A sweep tries the plans of problems at numbers of tokens on devices, and records the trials.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/tuned_record.h"
#include "tuning/compile_ahead.h"
#include "tuning/row_sweep.h"
#include "tuning/timer.h"
#include "tuning/worker.h"

namespace mhcjit::tuning {

// The parts of a sweep that tests replace.
struct Kit {
  MakeTimer make_timer;
  std::function<Compiler()> make_compiler;  // called once, after the processes of the devices have begun
  // Returns the compiler's version, "13.0", for an architecture.
  std::function<llvm::Expected<std::string>(const codegen::Architecture&)> find_compiler;
};

// Every count'th row belongs to the shard, from the one at `index` on.
struct Shard {
  std::size_t index = 0;
  std::size_t count = 1;
};

struct Request {
  std::vector<codegen::SizedProblem> shapes;  // for the devices' architecture, whatever theirs is
  std::vector<int> devices = {0};             // all of one kind
  Shard shard = {};
  Pruning pruning = {};
  Halving halving = {};
  Limits limits = {};
  std::optional<std::chrono::milliseconds> budget = {};  // the sweep's; each row has its share of what is left
  unsigned compile_threads = 1;
  std::string record;  // the file
};

// The progress of a sweep, after a trial.
struct Progress {
  std::size_t rows = 0;
  std::size_t rows_done = 0;  // including those that the record had
  std::size_t rows_found_done = 0;
  const Row* row = nullptr;  // the trial's
  const codegen::Trial* trial = nullptr;
  double best_us = 0;  // the row's so far; 0: none
  double floor_us = 0;
  std::chrono::steady_clock::duration elapsed = {};
};

struct Summary {
  codegen::RecordHeader header;
  std::size_t rows = 0;
  std::size_t rows_done = 0;
  std::size_t trials = 0;             // in the record, of this sweep's rows
  std::size_t new_trials = 0;         // those of them that were made now
  std::size_t pruned = 0;             // legal plans of all rows that the estimate ruled out
  std::vector<std::string> failures;  // rows that could not be tried, or have no right plan
  std::vector<codegen::TunedChoice> choices;
  bool is_out_of_time = false;

  bool is_done() const { return rows_done == rows; }
};

// Continues where the record ends. The process must have no other threads and must not have used CUDA. `stop`, which a
// signal may set, ends the sweep after the trial in progress. `report` is called after each new trial, by one thread at
// a time. Errors: NO_DEVICE, NO_NVRTC, INVALID_ARGUMENT (devices of several kinds, a problem), IO, BAD_FILE (the
// record).
llvm::Expected<Summary> sweep(const Request& request, const Kit& kit, const std::atomic<bool>& stop,
                              const std::function<void(const Progress&)>& report);

}  // namespace mhcjit::tuning
