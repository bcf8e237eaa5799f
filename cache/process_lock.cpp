#include "cache/process_lock.h"

#include <algorithm>
#include <cstdint>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

constexpr std::chrono::milliseconds shortest_pause(1), longest_pause(50);

// The digest's first 60 bits: a byte that the file need not have.
off_t byte_of(llvm::StringRef digest) {
  std::uint64_t number = 0;
  digest.take_front(15).getAsInteger(16, number);
  return static_cast<off_t>(number);
}

}  // namespace

ProcessLock::ProcessLock(FileOps& ops, const std::string& path, llvm::StringRef digest,
                         std::chrono::milliseconds timeout)
    : ops_(ops) {
  constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  fd_ = retry([&] { return ops_.open(path.c_str(), flags, 0600); });
  if (fd_ >= 0) state_ = acquire(digest, timeout);
}

ProcessLock::State ProcessLock::acquire(llvm::StringRef digest, std::chrono::milliseconds timeout) {
  byte_ = byte_of(digest);
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (auto pause = shortest_pause;; pause = std::min(pause * 2, longest_pause)) {
    if (set(F_WRLCK)) return State::held;
    if (errno != EAGAIN && errno != EACCES) return State::unsupported;
    waited_ = true;
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return State::timed_out;
    std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, deadline - now));
  }
}

bool ProcessLock::set(short type) {
  struct flock range = {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte_;
  range.l_len = 1;
  return retry([&] { return ops_.lock(fd_, &range); }) == 0;
}

ProcessLock::~ProcessLock() {
  if (fd_ < 0) return;
  // A child that was forked meanwhile shares the open file, and closing it here alone would leave the lock to it.
  if (state_ == State::held) set(F_UNLCK);
  ops_.close(fd_);
}

}  // namespace mhcjit::cache
