#include "waiting.h"

#include <fmt/format.h>

namespace mhcjit::sim {

std::string describe(const Waiting& waiting, const BarrierPhase* phase) {
  const std::string where = to_string(waiting.where);
  switch (waiting.state) {
    case State::ready: return "is ready";
    case State::at_block_barrier: return fmt::format("waits at the barrier {}", where);
    case State::in_warp: return fmt::format("waits at the {} {}", waiting.operation, where);
    case State::at_barrier:
      return fmt::format(
          "waits at {} for parity {} of the barrier at byte {}, whose phase {} lacks {} arrivals and {} bytes", where,
          waiting.parity, waiting.barrier, phase->number, phase->arrivals, phase->bytes);
    case State::at_cluster_barrier: return fmt::format("waits for the cluster at {}", where);
    case State::looking: return fmt::format("looks again and again at {}", where);
    case State::finished: return "has finished";
  }
  return "";
}

}  // namespace mhcjit::sim
