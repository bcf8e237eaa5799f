// The measure that passes or fails every implementation: a NaN, an infinity, a missing element or a result where the
// reference is zero must never pass.
#include "oracle/compare.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "oracle/storage.h"

namespace mhcjit::oracle {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

double error(std::vector<double> reference, std::vector<double> value) { return normalised_error(reference, value); }

TEST(NormalisedError, IsTheRatioOfTheNorms) {
  EXPECT_EQ(error({3.0, 4.0}, {3.0, 4.0}), 0.0);
  EXPECT_DOUBLE_EQ(error({3.0, 4.0}, {3.5, 4.0}), 0.1);
  EXPECT_DOUBLE_EQ(error({3.0, -4.0}, {0.0, 0.0}), 1.0);
}

TEST(NormalisedError, WhatIsNotFiniteFailsEveryBound) {
  for (const double bad : {nan, infinity, -infinity}) {
    EXPECT_FALSE(error({1.0, 2.0}, {1.0, bad}) <= 1e300);
    EXPECT_FALSE(error({1.0, bad}, {1.0, 2.0}) <= 1e300);
    EXPECT_FALSE(error({1.0, bad}, {1.0, bad}) <= 1e300);
  }
}

TEST(NormalisedError, DifferentSizesFailEveryBound) { EXPECT_FALSE(error({1.0, 2.0}, {1.0}) <= 1e300); }

TEST(NormalisedError, AZeroReferenceAsksForZeros) {
  EXPECT_EQ(error({0.0, 0.0}, {0.0, -0.0}), 0.0);
  EXPECT_EQ(error({0.0, 0.0}, {0.0, 1e-30}), infinity);
  EXPECT_EQ(error({}, {}), 0.0);
}

TEST(ErrorBound, EveryOutputHasOneAndNothingElseHas) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32}) {
    for (const char* name :
         {"h_in", "h_post", "h_res", "inv_rms", "h_mix", "h_pre", "dx", "dphi", "dgamma", "dalpha", "dbias"}) {
      ASSERT_TRUE(error_bound(name, dtype).has_value()) << name;
      EXPECT_GT(*error_bound(name, dtype), 0.0) << name;
      EXPECT_LE(*error_bound(name, dtype), 2.5e-3) << name;
    }
    EXPECT_FALSE(error_bound("x", dtype).has_value());
    EXPECT_FALSE(error_bound("", dtype).has_value());
  }
}

// A bound below what storage alone costs could not be met, one far above would let errors through.
TEST(ErrorBound, LeavesRoomForTheRoundingOfStorageAndLittleMore) {
  std::vector<double> exact;
  for (int i = 1; i <= 20000; ++i) exact.push_back(std::sin(i));
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16}) {
    const std::vector<std::byte> stored = to_storage(exact, dtype);
    const std::vector<double> rounded = from_storage(stored.data(), std::ssize(exact), dtype);
    const double rounding = normalised_error(exact, rounded);
    EXPECT_LT(rounding, error_bound("h_in", dtype).value());
    EXPECT_GT(rounding * 4, error_bound("h_in", dtype).value());
  }
}

}  // namespace
}  // namespace mhcjit::oracle
