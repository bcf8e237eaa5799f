// Keeps a signal that a system call raises on the calling thread from ending a host that does not expect it. A host's
// own disposition is not the library's to change. Internal to the folder.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>

#include <pthread.h>

namespace mhcjit::cache {

// Blocks `signal` on this thread for its scope, and takes it away at the end, so that the call's errno is all that is
// left. SIGPIPE of a write to a socket and SIGXFSZ of a write beyond `ulimit -f` are raised for the thread that writes,
// so no other thread can be handed them meanwhile, and another thread's mask does not matter. A signal that was pending
// before is the host's, and stays pending. errno is kept.
class WithoutSignal {
 public:
  explicit WithoutSignal(int signal) : signal_(signal) {
    sigemptyset(&only_it_);
    sigaddset(&only_it_, signal);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, signal_) == 1;
    pthread_sigmask(SIG_BLOCK, &only_it_, &old_);
  }
  WithoutSignal(const WithoutSignal&) = delete;
  WithoutSignal& operator=(const WithoutSignal&) = delete;
  ~WithoutSignal() {
    const int error = errno;
    const timespec now = {};
    if (!was_pending_) sigtimedwait(&only_it_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
    errno = error;
  }

 private:
  const int signal_;
  sigset_t only_it_ = {}, old_ = {};
  bool was_pending_ = false;
};

}  // namespace mhcjit::cache
