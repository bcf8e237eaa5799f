// The process of a device: what a plan does to its process, or to the device's context in it, costs one trial.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>
#include <sys/types.h>

#include "codegen/tuned_record.h"
#include "tuning/timer.h"

namespace mhcjit::tuning {

struct Answer;

// What became of one attempt to check and time a plan.
struct Attempt {
  codegen::Outcome outcome = codegen::Outcome::measured;
  Timing timing = {};
  std::string reason = {};  // of any outcome but measured
  bool has_no_row = false;  // the row's own inputs cannot be made: nothing is said of the plan
};

// How long something may take before it hangs.
struct Limits {
  std::chrono::milliseconds row = std::chrono::minutes(2);  // to make its inputs
  std::chrono::milliseconds plan = std::chrono::seconds(20);
};

// One thread at a time.
class Worker {
 public:
  // For a process that has no other threads yet, and has not used CUDA. `rows` are copied with the process. Errors: IO.
  static llvm::Expected<Worker> start(const MakeTimer& make_timer, int device, const std::vector<Row>& rows);

  Worker(Worker&& other) noexcept;
  Worker& operator=(Worker&&) = delete;
  // Ends the process.
  ~Worker();

  // Checks the candidate, unless this process has in this row, and times it. Errors: IO, when the process cannot be
  // begun again.
  llvm::Expected<Attempt> attempt(std::size_t row, std::size_t candidate, const Limits& limits);

 private:
  Worker(pid_t keeper, int channel) : keeper_(keeper), channel_(channel) {}

  // False when none came in time.
  llvm::Expected<bool> next(Answer& answer, std::chrono::milliseconds limit) const;
  // What is said of an attempt that ended the process, once it has ended.
  llvm::Expected<Attempt> when_ended(Attempt attempt);

  pid_t keeper_;                         // forks the process, and forks it again
  pid_t process_ = 0;                    // 0: not begun yet
  std::optional<std::size_t> row_ = {};  // whose inputs the process has
  int channel_;
};

}  // namespace mhcjit::tuning
