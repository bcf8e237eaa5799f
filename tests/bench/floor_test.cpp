// The bytes of the floor, tensor by tensor, against numbers worked out by hand.
#include "bench/floor.h"

#include <gtest/gtest.h>

#include "codegen/operators.h"

namespace mhcjit::bench {
namespace {

using codegen::DType;

// n = 2, D = 8, so M = 8 and a token has 16 elements; T = 3.
TEST(Floor, ForwardReadsEveryInputAndWritesEveryOutputOnce) {
  const std::size_t read = 96 /*x*/ + 512 /*phi*/ + 12 /*alpha*/ + 32 /*bias*/;
  const std::size_t written = 48 /*h_in*/ + 24 /*h_post*/ + 48 /*h_res*/ + 12 /*inv_rms*/ + 96 /*h_mix*/ + 24 /*h_pre*/;
  EXPECT_EQ(floor_bytes({&codegen::pre_forward, 2, 8, DType::bf16, false, false, {}}, 3), read + written);
  EXPECT_EQ(floor_bytes({&codegen::pre_forward, 2, 8, DType::fp16, false, true, {}}, 3), read + written);
  EXPECT_EQ(floor_bytes({&codegen::pre_forward, 2, 8, DType::bf16, true, false, {}}, 3), read + 64 /*gamma*/ + written);
  EXPECT_EQ(floor_bytes({&codegen::pre_forward, 2, 8, DType::fp32, false, false, {}}, 3), read + 96 + written + 48);
}

TEST(Floor, BackwardReadsWhatForwardSaved) {
  const std::size_t read = 96 /*x*/ + 512 /*phi*/ + 12 /*alpha*/ + 12 /*inv_rms*/ + 96 /*h_mix*/ + 24 /*h_pre*/ +
                           24 /*h_post*/ + 48 /*dh_in*/ + 24 /*dh_post*/ + 48 /*dh_res*/;
  const std::size_t written = 96 /*dx*/ + 512 /*dphi*/ + 12 /*dalpha*/ + 32 /*dbias*/;
  EXPECT_EQ(floor_bytes({&codegen::pre_backward, 2, 8, DType::bf16, false, false, {}}, 3), read + written);
  EXPECT_EQ(floor_bytes({&codegen::pre_backward, 2, 8, DType::bf16, true, false, {}}, 3),
            read + 64 /*gamma*/ + written + 64 /*dgamma*/);
  EXPECT_EQ(floor_bytes({&codegen::pre_backward, 2, 8, DType::bf16, false, false, {}, true}, 3), read + written + 96);
}

TEST(Floor, OfALargeShapeIsMostlyX) {
  EXPECT_EQ(
      floor_bytes({&codegen::pre_forward, 4, 4096, DType::bf16, false, false, {}}, 8192),
      268435456u /*x*/ + 1572864u /*phi*/ + 12u + 96u + 67108864u /*h_in*/ + 8192u * 4u * (4u + 16u + 1u + 24u + 4u));
}

TEST(ColdSets, OutgrowTheCacheFourTimes) {
  EXPECT_EQ(cold_sets(1000, 60'000), 241);
  EXPECT_EQ(cold_sets(60'000, 60'000), 5);
}

TEST(ColdSets, AreAtLeastTwoAndNotTooMany) {
  EXPECT_EQ(cold_sets(1'000'000, 60'000), 2);
  EXPECT_EQ(cold_sets(1'000'000, 0), 2);
  EXPECT_EQ(cold_sets(1, 60'000), 512);
}

}  // namespace
}  // namespace mhcjit::bench
