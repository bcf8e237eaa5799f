// A sweep: the plans of problems at numbers of tokens, tried on devices, into a record.
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

// What a sweep is made with, for tests to replace.
struct Kit {
  MakeTimer make_timer;
  std::function<Compiler()> make_compiler;  // called once, after the processes of the devices have begun
  // Its version, "13.0", for an architecture.
  std::function<llvm::Expected<std::string>(const codegen::Architecture&)> find_compiler;
};

// Every count'th row, from the one at `index` on.
struct Shard {
  std::size_t index = 0;
  std::size_t count = 1;
};

struct Request {
  std::vector<codegen::SizedProblem> shapes;  // for the devices' architecture, whatever theirs is
  std::vector<int> devices = {0};             // of one kind
  Shard shard = {};
  Pruning pruning = {};
  Halving halving = {};
  Limits limits = {};
  std::optional<std::chrono::milliseconds> budget = {};  // of the sweep; each row has its share of what is left
  unsigned compile_threads = 1;
  std::string record;  // the file
};

// How far a sweep is, after a trial.
struct Progress {
  std::size_t rows = 0;
  std::size_t rows_done = 0;  // those that a record has among them
  std::size_t rows_found_done = 0;
  const Row* row = nullptr;  // of the trial
  const codegen::Trial* trial = nullptr;
  double best_us = 0;  // of the row so far; 0: none
  double floor_us = 0;
  std::chrono::steady_clock::duration elapsed = {};
};

struct Summary {
  codegen::RecordHeader header;
  std::size_t rows = 0;
  std::size_t rows_done = 0;
  std::size_t trials = 0;             // of this sweep's rows, in the record
  std::size_t new_trials = 0;         // of them, made now
  std::size_t pruned = 0;             // legal plans that the estimate ruled out, of all rows
  std::vector<std::string> failures;  // of rows that could not be tried, or have no right plan
  std::vector<codegen::TunedChoice> choices;
  bool is_out_of_time = false;

  bool is_done() const { return rows_done == rows; }
};

// Goes on where the record ends. For a process without other threads that has not used CUDA. `stop`, which a signal may
// set, ends it after the trial that is under way; `report` is called after each new trial, by one thread at a time.
// Errors: NO_DEVICE, NO_NVRTC, INVALID_ARGUMENT (devices of several kinds, a problem), IO, BAD_FILE (the record).
llvm::Expected<Summary> sweep(const Request& request, const Kit& kit, const std::atomic<bool>& stop,
                              const std::function<void(const Progress&)>& report);

}  // namespace mhcjit::tuning
