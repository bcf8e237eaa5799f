// A barrier in shared memory for real threads. Who arrives releases and who waits acquires, as on a device; nothing
// else about it orders memory accesses, so that ThreadSanitizer sees what a kernel's own arrivals and waits order.
//
// Hence no lock, and a word for each of two phases: a phase's word takes the arrivals of that phase and of no other, so
// that a waiter does not by chance acquire what arrived for the next.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "barrier_phase.h"
#include "bell.h"

namespace mhcjit::sim {

class AtomicBarrier {
 public:
  // Returns whether there was none here. Uses of the barrier have to be ordered behind it by other means.
  bool init(int arrivals) {
    if (arrivals_.exchange(arrivals, std::memory_order_relaxed) != 0) return false;
    words_[1].store(pack({.number = first_number - 1}), std::memory_order_relaxed);
    words_[0].store(pack({.number = first_number, .arrivals = arrivals}), std::memory_order_relaxed);
    return true;
  }

  bool exists() const { return arrivals_.load(std::memory_order_relaxed) != 0; }

  // Returns what is wrong, or nullptr.
  const char* step(const BarrierStep& step) {
    while (true) {
      auto [phase, content] = current();
      if (const char* wrong = apply(phase, step)) return wrong;
      if (words_[phase.number % 2].compare_exchange_weak(content, pack(phase), std::memory_order_release,
                                                         std::memory_order_relaxed)) {
        if (phase.complete()) bell_.ring();
        return nullptr;
      }
    }
  }

  // Until the phase of this parity has ended.
  void wait(int parity) {
    bell_.wait_until([&] { return phase().parity() != parity; });
    static_cast<void>(words_[parity].load(std::memory_order_acquire));
  }

  BarrierPhase phase() const { return current().first; }

 private:
  // Even, so that it has parity 0.
  static constexpr std::uint32_t first_number = 2;

  static std::uint64_t pack(const BarrierPhase& phase) {
    return std::uint64_t{phase.number} << 42 | static_cast<std::uint64_t>(phase.arrivals) << 22 |
           static_cast<std::uint64_t>(phase.bytes + max_barrier_count);
  }
  static BarrierPhase unpack(std::uint64_t word) {
    return {.number = static_cast<std::uint32_t>(word >> 42),
            .arrivals = static_cast<std::int32_t>(word >> 22 & max_barrier_count),
            .bytes = static_cast<std::int32_t>(word & 0x3fffff) - max_barrier_count};
  }

  // The phase that has not ended, and what its word holds. A value that is out of date makes step()'s exchange fail.
  std::pair<BarrierPhase, std::uint64_t> current() const {
    const std::uint64_t words[2] = {words_[0].load(std::memory_order_relaxed),
                                    words_[1].load(std::memory_order_relaxed)};
    const int last = unpack(words[1]).number > unpack(words[0]).number ? 1 : 0;
    const BarrierPhase phase = unpack(words[last]);
    if (!phase.complete()) return {phase, words[last]};
    return {{.number = phase.number + 1, .arrivals = arrivals_.load(std::memory_order_relaxed)}, words[1 - last]};
  }

  std::atomic<std::int32_t> arrivals_ = 0;  // of each phase
  std::atomic<std::uint64_t> words_[2] = {};
  Bell bell_;  // at the end of a phase
};

}  // namespace mhcjit::sim
