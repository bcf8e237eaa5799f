#include "cache/background_queue.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include <unistd.h>

#include "support/threads.h"

namespace mhcjit::cache {

namespace {

using Clock = std::chrono::steady_clock;

}  // namespace

struct BackgroundQueue::State {
  struct Item {
    Job job;
    std::size_t bytes;
  };

  explicit State(QueueLimits queue_limits) : limits(queue_limits) {}

  // Under the mutex. False in a process that is at its limit of threads.
  bool start() {
    return thread.count() == 1 || thread.start([this] { run(); });
  }

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return ending || !items.empty(); });
      const auto time_left =
          ending ? std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()) : limits.drain_time;
      if (items.empty() || time_left.count() <= 0) return;
      Item item = std::move(items.front());
      items.pop_front();
      lock.unlock();
      item.job(time_left);
      item.job = nullptr;
      lock.lock();
      bytes -= item.bytes;
    }
  }

  const QueueLimits limits;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Item> items;
  std::size_t bytes = 0;  // of the items and of the job that is running
  bool ending = false;
  Clock::time_point end;
  Threads thread;  // one; waited for first
};

BackgroundQueue::BackgroundQueue(QueueLimits limits) : state_(std::make_unique<State>(limits)) {}

BackgroundQueue::~BackgroundQueue() {
  if (is_fork_of_the_owner()) {
    static_cast<void>(state_.release());
    return;
  }
  {
    const std::lock_guard lock(state_->mutex);
    state_->ending = true;
    state_->end = Clock::now() + state_->limits.drain_time;
  }
  state_->changed.notify_all();
}

bool BackgroundQueue::push(Job job, std::size_t bytes) {
  // Before the mutex is touched for the first time: a child that finds 0 here finds a free one.
  pid_t nobody = 0;
  owner_.compare_exchange_strong(nobody, ::getpid());
  if (is_fork_of_the_owner()) return false;
  {
    const std::lock_guard lock(state_->mutex);
    const QueueLimits& limits = state_->limits;
    if (state_->items.size() >= limits.max_jobs || bytes > limits.max_bytes - state_->bytes || !state_->start())
      return false;
    state_->items.push_back({std::move(job), bytes});
    state_->bytes += bytes;
  }
  state_->changed.notify_all();
  return true;
}

bool BackgroundQueue::is_fork_of_the_owner() const { return owner_ != 0 && owner_ != ::getpid(); }

}  // namespace mhcjit::cache
