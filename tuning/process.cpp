#include "tuning/process.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <set>

#include <fmt/format.h>

#include "tuning/messages.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;

class Process {
 public:
  Process(std::function<std::unique_ptr<Timer>()> make_timer, const std::vector<Row>& rows, int channel)
      : make_timer_(std::move(make_timer)), rows_(rows), channel_(channel) {}

  // Returns false if the process is to end: the timer's last call may have spoilt its device's context.
  bool obey(const Order& order) {
    const Row& row = rows_[order.row];
    if (row_ != &row && !begin(row)) return false;
    Answer answer = {.event = Event::attempted};
    try {
      const codegen::PlanPtr& plan = row.candidates[order.candidate];
      if (checked_.insert(order.candidate).second) timer_->check(plan);
      answer.timing = timer_->time(plan);
    } catch (const WrongResult& failure) {
      answer.outcome = Outcome::wrong;
      answer.say(failure.what());
    } catch (const CannotRun& failure) {
      answer.outcome = Outcome::not_run;
      answer.say(failure.what());
    } catch (const std::runtime_error& failure) {
      answer.outcome = Outcome::faulted;
      answer.say(failure.what());
    }
    return send(channel_, answer) && answer.outcome != Outcome::faulted;
  }

 private:
  bool begin(const Row& row) {
    Answer answer = {.event = Event::begun};
    try {
      if (!timer_) timer_ = make_timer_();
      timer_->begin(row);
    } catch (const std::runtime_error& failure) {
      answer.event = Event::no_row;
      answer.say(failure.what());
    }
    row_ = &row;
    checked_.clear();
    return send(channel_, answer) && answer.event == Event::begun;
  }

  const std::function<std::unique_ptr<Timer>()> make_timer_;
  const std::vector<Row>& rows_;
  const int channel_;
  std::unique_ptr<Timer> timer_;  // exists from the first row on
  const Row* row_ = nullptr;
  std::set<std::size_t> checked_;
};

// Its exit code is 0 after the order that ends it.
int run_process(const MakeTimer& make_timer, int device, const std::vector<Row>& rows, int channel) {
  if (!send(channel, Answer{.event = Event::started, .process = ::getpid()})) return 1;
  Process process([&] { return make_timer(device); }, rows, channel);
  Order order;
  while (receive(channel, order)) {
    if (order.ends) return 0;
    if (!process.obey(order)) return 1;
  }
  return 1;
}

}  // namespace

void follow(pid_t parent) {
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
}

void keep_process(pid_t parent, const MakeTimer& make_timer, int device, const std::vector<Row>& rows, int channel) {
  follow(parent);
  const pid_t self = ::getpid();
  while (true) {
    const pid_t child = ::fork();
    if (child < 0) ::_exit(1);
    if (child == 0) {
      follow(self);
      ::_exit(run_process(make_timer, device, rows, channel));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) ::_exit(0);
    if (!send(channel, Answer{.event = Event::ended, .process = child, .status = status})) ::_exit(1);
  }
}

std::string describe_end(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("its process ended with exit code {}", WEXITSTATUS(status));
  return fmt::format("its process ended by signal {}: {}", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
}

}  // namespace mhcjit::tuning
