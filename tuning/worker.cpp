#include "tuning/worker.h"

#include <poll.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <utility>

#include "support/error.h"
#include "tuning/messages.h"
#include "tuning/process.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using std::chrono::milliseconds;

// A process that is killed ends once its device has stopped.
constexpr milliseconds ends_within = std::chrono::minutes(1);

llvm::Error lost() {
  return make_error(MHCJIT_ERROR_IO, "the process that runs plans has ended and cannot be begun again");
}

}  // namespace

llvm::Expected<Worker> Worker::start(const MakeTimer& make_timer, int device, const std::vector<Row>& rows) {
  Channel channel;
  const pid_t self = ::getpid();
  const pid_t keeper = channel.is_made() ? ::fork() : -1;
  if (keeper < 0)
    return make_error(MHCJIT_ERROR_IO, "a process to run plans in cannot be made: {}", std::strerror(errno));
  if (keeper == 0) {
    channel.close_ours();
    keep_process(self, make_timer, device, rows, channel.theirs());
  }
  return Worker(keeper, channel.take_ours());
}

Worker::Worker(Worker&& other) noexcept
    : keeper_(std::exchange(other.keeper_, -1)),
      process_(other.process_),
      row_(other.row_),
      channel_(std::exchange(other.channel_, -1)) {}

Worker::~Worker() {
  if (keeper_ < 0) return;
  if (!send(channel_, Order{.ends = true})) ::kill(keeper_, SIGKILL);
  int status = 0;
  while (::waitpid(keeper_, &status, 0) < 0 && errno == EINTR) {
  }
  ::close(channel_);
}

llvm::Expected<bool> Worker::next(Answer& answer, milliseconds limit) const {
  pollfd readable = {channel_, POLLIN, 0};
  int ready = 0;
  do ready = ::poll(&readable, 1, static_cast<int>(limit.count()));
  while (ready < 0 && errno == EINTR);
  if (ready == 0) return false;
  if (!receive(channel_, answer)) return lost();
  return true;
}

llvm::Expected<Attempt> Worker::when_ended(Attempt attempt) {
  row_.reset();
  process_ = 0;
  Answer answer;
  do {
    auto came = next(answer, ends_within);
    if (!came) return came.takeError();
    if (!*came) {
      ::kill(keeper_, SIGKILL);
      return make_error(MHCJIT_ERROR_LAUNCH_FAILED, "a plan hangs, and its process does not end when it is killed");
    }
  } while (answer.event != Event::ended);
  return attempt;
}

llvm::Expected<Attempt> Worker::attempt(std::size_t row, std::size_t candidate, const Limits& limits) {
  if (!send(channel_, Order{.row = row, .candidate = candidate})) return lost();
  while (true) {
    const milliseconds limit = row_ == row ? limits.plan : limits.row;
    Answer answer;
    auto came = next(answer, limit);
    if (!came) return came.takeError();
    if (!*came) {
      if (process_ > 0) ::kill(process_, SIGKILL);
      return when_ended(
          {.outcome = Outcome::hung,
           .reason = fmt::format("it took longer than {:.3g} s", static_cast<double>(limit.count()) * 1e-3),
           .has_no_row = row_ != row});
    }
    switch (answer.event) {
      case Event::started: process_ = answer.process; break;
      case Event::begun: row_ = row; break;
      case Event::no_row: return when_ended({.outcome = Outcome::not_run, .reason = answer.text, .has_no_row = true});
      case Event::attempted: {
        Attempt attempt = {answer.outcome, answer.timing, answer.text};
        if (attempt.outcome == Outcome::faulted) return when_ended(std::move(attempt));
        return attempt;
      }
      case Event::ended: {
        const Attempt attempt = {
            .outcome = Outcome::faulted, .reason = describe_end(answer.status), .has_no_row = row_ != row};
        row_.reset();
        process_ = 0;
        return attempt;
      }
    }
  }
}

}  // namespace mhcjit::tuning
