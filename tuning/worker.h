// The process of a device: damage that a plan does to it, or to the device's context in it, costs one trial.
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

// The result of one attempt to check and time a plan.
struct Attempt {
  codegen::Outcome outcome = codegen::Outcome::measured;
  Timing timing = {};
  std::string reason = {};  // set for any outcome but measured
  bool has_no_row = false;  // the row's own inputs cannot be made, which says nothing of the plan
};

// Time limits after which a step counts as hung.
struct Limits {
  std::chrono::milliseconds row = std::chrono::minutes(2);  // for the row's inputs
  std::chrono::milliseconds plan = std::chrono::seconds(20);
};

// A worker serves one thread at a time.
class Worker {
 public:
  // The caller has no other threads yet, and has not used CUDA. `rows` are copied with the process. Errors: IO.
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
  // Describes an attempt that ended the process, once it has ended.
  llvm::Expected<Attempt> when_ended(Attempt attempt);

  pid_t keeper_;                         // forks the process, and forks it again
  pid_t process_ = 0;                    // 0: not begun yet
  std::optional<std::size_t> row_ = {};  // whose inputs the process has
  int channel_;
};

}  // namespace mhcjit::tuning
