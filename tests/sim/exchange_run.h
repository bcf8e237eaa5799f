// Runs exchange_kernel.cuh.
#pragma once

#include <string>
#include <vector>

#include "exchange_kernel.cuh"

namespace mhcjit::sim {

struct Exchange {
  int blocks = 2;
  int cluster_size = 1;
  bool is_cooperative = true;
  bool is_handed_whole = true;

  // Returns what went wrong: in the simulator or with the results; "" when nothing.
  std::string run(std::uint64_t seed) const {
    constexpr int rounds = 6;
    const auto lanes = static_cast<std::size_t>(blocks * device::warp_size);
    std::vector<device::Vector<device::u32, 4>> slots(rounds * lanes);
    std::vector<device::u32> totals(lanes);
    std::vector<device::u32> values(slots.size());
    const exchange::Args args = {&slots[0][0], totals.data(), values.data(), rounds, is_handed_whole};
    const std::string fault = sim::run({.kernel = "exchange",
                                        .grid_x = static_cast<std::uint32_t>(blocks),
                                        .threads_per_block = exchange::threads,
                                        .shared_bytes = exchange::shared_bytes,
                                        .seed = seed,
                                        .cluster_size = cluster_size,
                                        .is_cooperative = is_cooperative},
                                       [&] { exchange::Block(args).run(); });
    if (!fault.empty()) return fault;
    device::u32 total = 0;
    for (int round = 0; round < rounds; ++round) {
      const device::u32 before = total;
      total = 0;
      for (int block = 0; block < blocks; ++block) total += before % 97 + static_cast<device::u32>(block);
    }
    return totals == std::vector<device::u32>(lanes, total) ? "" : "wrong totals";
  }
};

}  // namespace mhcjit::sim
