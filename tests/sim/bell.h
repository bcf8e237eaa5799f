// Where threads sleep until what they wait for may have come. It orders no memory accesses, so that ThreadSanitizer
// takes no wait for more than the kernel's own operations say: that follows atomics that are not relaxed, and the
// functions of pthreads, but no system call.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

namespace mhcjit::sim {

class Bell {
 public:
  // After a change for which others may wait.
  void ring() {
    rings_.fetch_add(1, std::memory_order_relaxed);
    syscall(SYS_futex, &rings_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
  }

  template <typename Condition>
  void wait_until(const Condition& condition) {
    while (true) {
      const std::uint32_t heard = rings_.load(std::memory_order_relaxed);
      if (condition()) return;
      // As nothing is ordered, a ring may be heard before its change is seen: then this looks again.
      constexpr timespec limit = {.tv_sec = 0, .tv_nsec = 10'000'000};
      syscall(SYS_futex, &rings_, FUTEX_WAIT_PRIVATE, heard, &limit, nullptr, 0);
    }
  }

 private:
  std::atomic<std::uint32_t> rings_ = 0;
};

}  // namespace mhcjit::sim
