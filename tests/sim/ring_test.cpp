// A pipeline over a cluster: right under every seed, in clusters of every size.
#include "ring_run.h"

#include <gtest/gtest.h>

namespace mhcjit::sim {
namespace {

TEST(Ring, IsRightInEveryOrder) {
  for (const int blocks : {1, 2, 4, 8})
    for (std::uint64_t seed = 0; seed < 20; ++seed)
      EXPECT_EQ(run_ring(blocks, 11, seed), "") << blocks << " blocks, seed " << seed;
}

}  // namespace
}  // namespace mhcjit::sim
