// Work that nobody waits for, done one job after the other by a thread of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include <sys/types.h>

namespace mhcjit::cache {

struct QueueLimits {
  std::size_t max_jobs = 64;
  std::size_t max_bytes = std::size_t{64} << 20;
  std::chrono::milliseconds drain_time{2000};  // that the end of the queue gives the jobs that are left
};

// push() may be called from any number of threads at the same time. The thread starts at the first push() and takes no
// signal of the process. In a child after a fork there is no thread: every push() is refused, and the end is free.
class BackgroundQueue {
 public:
  // `time_left`: how long the job may take from now. It must not throw.
  using Job = std::function<void(std::chrono::milliseconds time_left)>;

  explicit BackgroundQueue(QueueLimits limits = {});
  BackgroundQueue(const BackgroundQueue&) = delete;
  BackgroundQueue& operator=(const BackgroundQueue&) = delete;

  // Does what is queued for no longer than `drain_time`, then drops the rest. A job that is running is waited for.
  ~BackgroundQueue();

  // False when the job is not taken: the queue is full, or there is no thread to be had. `bytes`: what the job holds.
  bool push(Job job, std::size_t bytes);

 private:
  struct State;

  bool is_fork_of_the_owner() const;

  // Left alone in a child, whose copy of the locks may be held by threads that it does not have.
  std::unique_ptr<State> state_;
  std::atomic<pid_t> owner_ = 0;  // the process that pushed first
};

}  // namespace mhcjit::cache
