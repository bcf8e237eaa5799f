// Threads of the library's own: as many as can be had. A process at its limit of threads or of memory has none to give,
// and the calling thread then does the work alone.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>

namespace mhcjit {

// Threads that belong to one other, which starts and joins them. They take no signal that is sent to the process: the
// host's handlers run on the host's threads.
class Threads {
 public:
  Threads() = default;
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() { wait(); }

  // Starts one more. False where none can be had.
  bool start(std::function<void()> work);

  std::size_t count() const { return threads_.size(); }

  // Waits for the end of all, then throws what the first of them that threw has thrown.
  void join();

 private:
  void wait();

  std::vector<std::thread> threads_;
  std::mutex mutex_;  // for failure_
  std::exception_ptr failure_;
};

// Processors that this thread may run on, at least 1.
unsigned usable_cores();

// Calls body(i) once for each i in [0, count), in any order, on the calling thread and on at most `threads` - 1 others;
// 0: one thread for each usable core. If a call throws, those that have not begun are left out, and the exception is
// thrown here once all have ended.
void parallel_for(std::int64_t count, unsigned threads, llvm::function_ref<void(std::int64_t)> body);

}  // namespace mhcjit
