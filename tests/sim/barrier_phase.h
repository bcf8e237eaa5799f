// A phase of a barrier in shared memory (PTX ISA, "mbarrier"): what it still waits for, and when it ends.
#pragma once

#include <cstdint>

namespace mhcjit::sim {

// The ISA's range of arrivals, and of bytes in both directions.
inline constexpr int max_barrier_count = (1 << 20) - 1;

// What stands in the 8 bytes of a barrier: whoever writes there is seen at the barrier's next use.
inline constexpr std::uint64_t barrier_mark = 0xba221e20ba221e20;

struct BarrierPhase {
  std::uint32_t number = 0;
  std::int32_t arrivals = 0;  // that are still to come
  std::int32_t bytes = 0;     // expected and not yet come; negative when more came than were expected so far

  bool complete() const { return arrivals == 0 && bytes == 0; }
  int parity() const { return static_cast<int>(number % 2); }
};

// What happens to a barrier in one step.
struct BarrierStep {
  std::int32_t arrivals = 0;
  std::int32_t expected = 0;  // bytes
  std::int32_t come = 0;      // bytes
};

// Returns what is wrong, or nullptr. Does not begin the next phase.
inline const char* apply(BarrierPhase& phase, const BarrierStep& step) {
  if (step.expected < 0 || step.expected > max_barrier_count)
    return "the bytes expected at once are outside 0 to 2^20 - 1";
  if (step.arrivals > phase.arrivals) return "more arrivals than the phase waits for";
  const std::int32_t bytes = phase.bytes + step.expected - step.come;
  if (bytes > max_barrier_count || bytes < -max_barrier_count)
    return "the count of bytes leaves -(2^20 - 1) to 2^20 - 1";
  phase.arrivals -= step.arrivals;
  phase.bytes = bytes;
  return nullptr;
}

}  // namespace mhcjit::sim
