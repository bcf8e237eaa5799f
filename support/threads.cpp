#include "support/threads.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <new>
#include <system_error>
#include <utility>

#include <pthread.h>

#include <llvm/Support/Threading.h>

namespace mhcjit {
namespace {

// A thread inherits what its maker blocks.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t sent_to_the_process;
    sigfillset(&sent_to_the_process);
    // A thread's own faults: blocked, they end the process past the host's handler.
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&sent_to_the_process, fault);
    pthread_sigmask(SIG_BLOCK, &sent_to_the_process, &old_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &old_, nullptr); }

 private:
  sigset_t old_ = {};
};

}  // namespace

bool Threads::start(std::function<void()> work) {
  const SignalsBlocked inherited_by_the_thread;
  try {
    threads_.emplace_back([this, work = std::move(work)] {
      try {
        work();
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    });
    return true;
  } catch (const std::system_error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void Threads::join() {
  wait();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Threads::wait() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

unsigned usable_cores() { return llvm::hardware_concurrency().compute_thread_count(); }

void parallel_for(std::int64_t count, unsigned threads, llvm::function_ref<void(std::int64_t)> body) {
  std::atomic<std::int64_t> next = 0;
  const auto work = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      next = count;
      throw;
    }
  };
  const std::int64_t wanted = std::min<std::int64_t>(count, threads == 0 ? usable_cores() : threads);
  Threads started;
  // Starting takes a while: what has started may have done all by then.
  while (static_cast<std::int64_t>(started.count()) < wanted - 1 && next < count && started.start(std::ref(work))) {
  }
  work();
  started.join();
}

}  // namespace mhcjit
