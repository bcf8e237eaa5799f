// What keeps a thread from going on, in words.
#pragma once

#include <cstdint>
#include <string>

#include "barrier_phase.h"
#include "place.h"

namespace mhcjit::sim {

enum class State { ready, at_block_barrier, in_warp, at_barrier, at_cluster_barrier, looking, finished };

struct Waiting {
  State state = State::ready;
  const char* operation = "";  // of in_warp
  Place where;
  std::uint32_t barrier = 0;  // of at_barrier, with the parity
  int parity = 0;
};

// `phase` is what a barrier that is waited for is in, else nullptr.
std::string describe(const Waiting& waiting, const BarrierPhase* phase);

}  // namespace mhcjit::sim
