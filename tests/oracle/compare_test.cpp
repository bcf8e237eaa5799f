// The measure that passes or fails every implementation: a NaN, an infinity, a missing element or a result where the
// reference is zero must never pass.
#include "oracle/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "oracle/outputs.h"
#include "oracle/random_inputs.h"
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
    EXPECT_EQ(error_bound("dx", {dtype, /*has_fp32_dx=*/true}), error_bound("dx", MHCJIT_FP32));
    EXPECT_EQ(error_bound("h_in", {dtype, /*has_fp32_dx=*/true}), error_bound("h_in", dtype));
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

std::vector<double> normal_numbers(std::size_t count, double deviation, std::uint64_t seed = 1) {
  const RandomOptions options = {
      .shape = {.T = 1, .n = 1, .D = static_cast<std::int64_t>(count)}, .dtype = MHCJIT_FP32, .seed = seed};
  std::vector<double> values = random_inputs(options).x;
  for (double& value : values) value *= deviation;
  return values;
}

std::vector<double> rounded(std::vector<double> values, mhcjit_dtype dtype) {
  for (double& value : values) value = round_to(value, dtype);
  return values;
}

// Towards zero, to the next number of `dtype`.
std::vector<double> truncated(std::vector<double> values, mhcjit_dtype dtype) {
  for (double& value : values) {
    const double unit = spacing(value, dtype);
    value = std::trunc(value / unit) * unit;
  }
  return values;
}

constexpr std::int64_t tokens = 1000;
constexpr std::int64_t row_size = 1024;

// What the whole tensor's norm hides.
class WorstRow : public testing::TestWithParam<mhcjit_dtype> {
 protected:
  Comparison compare_h_in() const { return compare({"h_in", exact, row_size}, stored, GetParam()); }
  std::span<double> row(std::int64_t token) { return std::span(stored).subspan(token * row_size, row_size); }

  // The norm alone does not see it.
  void expect_refused(std::int64_t token) const {
    const Comparison comparison = compare_h_in();
    EXPECT_LE(comparison.error, comparison.bound);
    EXPECT_FALSE(comparison.ok()) << to_string(comparison);
    EXPECT_EQ(comparison.worst_row, token);
    EXPECT_GT(comparison.row_error, comparison.row_bound());
    EXPECT_GT(comparison.share(), 1.0);
  }

  std::vector<double> exact = normal_numbers(tokens * row_size, 1.0);
  std::vector<double> stored = rounded(exact, GetParam());
};

TEST_P(WorstRow, TheReferenceRoundedIsRight) {
  const Comparison comparison = compare_h_in();
  EXPECT_TRUE(comparison.ok()) << to_string(comparison);
  EXPECT_FALSE(comparison.is_rounded) << "the bounds are enough";
  EXPECT_LT(comparison.row_error, comparison.bound * 1.1);
}

TEST_P(WorstRow, AWrongRowIsSeen) {
  const double share = 0.5 * error_bound("h_in", GetParam()).value() * std::sqrt(double{tokens});
  for (double& value : row(417)) value *= 1.0 + share;
  expect_refused(417);
}

TEST_P(WorstRow, AWrongElementIsSeen) {
  row(tokens - 1).back() += GetParam() == MHCJIT_BF16 ? 1.0 : GetParam() == MHCJIT_FP16 ? 0.3 : 0.015;
  expect_refused(tokens - 1);
}

TEST_P(WorstRow, ASmallRowIsMeasuredByTheOthers) {
  for (std::int64_t i = 0; i < row_size; ++i) {
    exact[i] *= 1e-6;
    stored[i] = 0.0;
  }
  EXPECT_TRUE(compare_h_in().ok());
  // One that is as large as the others where it should be small.
  std::ranges::copy(row(5), row(0).begin());
  EXPECT_FALSE(compare_h_in().ok());
}

TEST_P(WorstRow, ALargeRowIsMeasuredByItself) {
  for (std::int64_t i = 0; i < row_size; ++i) {
    exact[i] *= 1000.0;
    stored[i] = round_to(exact[i], GetParam());
  }
  EXPECT_TRUE(compare_h_in().ok());
}

TEST_P(WorstRow, OneNumberThatIsNotFiniteIsSeenAndFound) {
  for (const double bad : {nan, infinity, -infinity}) {
    const double right = std::exchange(stored[333 * row_size + 7], bad);
    Comparison comparison = compare_h_in();
    EXPECT_FALSE(comparison.ok()) << bad;
    EXPECT_FALSE(comparison.is_rounded) << bad;
    EXPECT_EQ(comparison.worst_row, 333) << bad;
    EXPECT_EQ(comparison.share(), infinity) << bad;
    // Nor where the reference has it too.
    const double reference = std::exchange(exact[333 * row_size + 7], bad);
    comparison = compare_h_in();
    EXPECT_FALSE(comparison.ok()) << bad;
    EXPECT_EQ(comparison.worst_row, 333) << bad;
    exact[333 * row_size + 7] = reference;
    stored[333 * row_size + 7] = right;
  }
  EXPECT_TRUE(compare_h_in().ok());
}

TEST_P(WorstRow, OutputsThatAreNoTokensHaveNone) {
  stored[7] += 0.02;
  const Comparison comparison = compare({"dphi", exact}, stored, MHCJIT_FP32);
  EXPECT_EQ(comparison.worst_row, -1);
  EXPECT_EQ(comparison.row_error, 0.0);
}

INSTANTIATE_TEST_SUITE_P(, WorstRow, testing::Values(MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32));

TEST(Comparison, OfADifferentSizeIsRefusedAndOfNothingIsRight) {
  EXPECT_FALSE(compare({"h_in", std::vector{1.0, 2.0}, 1}, std::vector{1.0}, MHCJIT_BF16).ok());
  EXPECT_FALSE(compare({"h_in", {}, 1}, std::vector{1.0}, MHCJIT_BF16).ok());
  EXPECT_TRUE(compare({"h_in", {}, 4}, {}, MHCJIT_BF16).ok());
}

bool is_right(const std::vector<double>& reference, const std::vector<double>& value, mhcjit_dtype dtype) {
  return compare({"h_in", reference, std::ssize(reference)}, value, dtype).ok();
}

// One element is off by up to half a unit, 2^-8 of bf16's 1.0, where the bound of a norm is 2.5e-3.
TEST(Rounded, ASingleElementMayBeOffByItsOwnRounding) {
  const double between = 1.0 + 0x1p-8 - 1e-6;
  EXPECT_EQ(round_to(between, MHCJIT_BF16), 1.0);
  const Comparison comparison = compare({"h_in", std::vector{between}, 1}, std::vector{1.0}, MHCJIT_BF16);
  EXPECT_GT(comparison.error, comparison.bound);
  EXPECT_TRUE(comparison.is_rounded);
  EXPECT_TRUE(comparison.ok());
  EXPECT_LE(comparison.share(), 1.0);
  // The other neighbour, and what is no neighbour.
  EXPECT_TRUE(is_right({between}, {1.0 + 0x1p-7}, MHCJIT_BF16));
  EXPECT_FALSE(is_right({between}, {1.0 - 0x1p-7}, MHCJIT_BF16));
  EXPECT_FALSE(is_right({between}, {1.0 + 0x1p-6}, MHCJIT_BF16));
  EXPECT_FALSE(is_right({between}, {-1.0}, MHCJIT_BF16));
  EXPECT_FALSE(is_right({between}, {0.0}, MHCJIT_BF16));
}

// What is stored in 32 bits, and what merely is computed beside 16 bits, has no such excuse.
TEST(Rounded, OnlyOutputsOf16BitsAre) {
  const double between = 1.0 + 0x1p-8 - 1e-6;
  EXPECT_FALSE(is_right({between}, {1.0}, MHCJIT_FP32));
  EXPECT_FALSE(compare({"h_post", std::vector{between}, 1}, std::vector{1.0}, MHCJIT_BF16).ok());
  EXPECT_FALSE(compare({"dphi", std::vector{between}}, std::vector{1.0}, MHCJIT_BF16).ok());
}

// fp16 has 17 numbers up to the size of these: the error of storage is beyond any bound of a norm.
TEST(Rounded, SubnormalNumbersAreRight) {
  const std::vector<double> exact = normal_numbers(100'000, 1e-6);
  const std::vector<double> stored = rounded(exact, MHCJIT_FP16);
  EXPECT_GT(normalised_error(exact, stored), 10 * error_bound("h_in", MHCJIT_FP16).value());
  EXPECT_TRUE(is_right(exact, stored, MHCJIT_FP16));
  for (const double wrong : {2 * 0x1p-24, 1e-4, 1.0, nan, infinity}) {
    std::vector<double> one_wrong = stored;
    one_wrong[54'321] += wrong;
    EXPECT_FALSE(is_right(exact, one_wrong, MHCJIT_FP16)) << wrong;
  }
  EXPECT_FALSE(is_right(exact, std::vector<double>(exact.size()), MHCJIT_FP16));
  EXPECT_FALSE(is_right(exact, truncated(exact, MHCJIT_FP16), MHCJIT_FP16));
}

// Every element is within one unit, and yet no rounding to nearest.
TEST(Rounded, TruncationIsRefused) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16}) {
    for (const double deviation : {1.0, 1e-6, 1000.0}) {
      const std::vector<double> exact = normal_numbers(4096, deviation);
      EXPECT_TRUE(is_right(exact, rounded(exact, dtype), dtype)) << deviation;
      EXPECT_FALSE(is_right(exact, truncated(exact, dtype), dtype)) << deviation;
    }
  }
}

TEST(Rounded, OfANumberBeyondTheLargestIsInfinity) {
  const double largest = 65504.0;
  EXPECT_TRUE(is_right({largest}, {largest}, MHCJIT_FP16));
  EXPECT_TRUE(is_right({70000.0}, {infinity}, MHCJIT_FP16));
  EXPECT_TRUE(is_right({-1e30, 1.0}, {-infinity, 1.0}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({70000.0}, {-infinity}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({70000.0}, {largest}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({70000.0}, {nan}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({65400.0}, {infinity}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({1.0}, {infinity}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({infinity}, {infinity}, MHCJIT_FP16));
  // Beside numbers that cancelled, which are more than a unit off and within the bounds.
  EXPECT_TRUE(is_right({1e6, 1.0, -1e6}, {infinity, 1.003, -infinity}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({1e6, 1.0, -1e6}, {infinity, 2000.0, -infinity}, MHCJIT_FP16));
  EXPECT_FALSE(is_right({1e6, 1.0, -1e6}, {infinity, infinity, -infinity}, MHCJIT_FP16));
  // In 32 bits the range is the operator's, not the storage's.
  EXPECT_FALSE(is_right({1e39}, {infinity}, MHCJIT_FP32));
  EXPECT_TRUE(is_right({0x1p128}, {infinity}, MHCJIT_BF16));
  EXPECT_FALSE(is_right({3e38}, {infinity}, MHCJIT_BF16));
}

TEST(AbsoluteFloor, IsTheSmallestNormalNumberOfFp32) {
  EXPECT_EQ(absolute_floor, std::numeric_limits<float>::min());
  for (const char* tensor : {"h_post", "h_mix", "dbias"}) {
    const auto right = [&](double reference, double value) {
      return compare({tensor, std::vector{reference}}, std::vector{value}, MHCJIT_FP32).ok();
    };
    EXPECT_TRUE(right(2.8e-87, 0.0));
    EXPECT_TRUE(right(1e-39, 0.0));
    EXPECT_TRUE(right(0.0, -1e-45));
    EXPECT_FALSE(right(2.5e-38, 0.0));
    EXPECT_FALSE(right(0.0, 2.5e-38));
    EXPECT_FALSE(right(1e-30, 0.0));
  }
}

TEST(LeastNorm, MeasuresWhereTermsCancel) {
  const std::vector<double> exact = {0.01, -0.02, 0.02};  // a norm of 0.03
  const auto compared = [&](double off, double least_norm, std::int64_t row_size) {
    return compare({"h_res", exact, row_size, least_norm}, std::vector{0.01 + off, -0.02, 0.02}, MHCJIT_BF16);
  };
  EXPECT_NEAR(compared(3e-6, 0.0, 0).error, 1e-4, 1e-12);
  EXPECT_NEAR(compared(3e-6, 0.029, 0).error, 1e-4, 1e-12);
  EXPECT_NEAR(compared(3e-6, 0.3, 0).error, 1e-5, 1e-12);
  EXPECT_NEAR(compared(3e-6, 0.3, 1).row_error, 1e-5 * std::sqrt(3.0), 1e-12);
  EXPECT_FALSE(compared(nan, 0.3, 1).ok());
}

// 1e-3 of the sum of the magnitudes of the terms.
TEST(LeastNorm, OfDalphaIsOfItsTerms) {
  const RandomOptions options = {.shape = {.T = 300, .n = 4, .D = 8}};
  const Inputs inputs = random_inputs(options);
  const Forward forward = pre_forward(options.shape, inputs);
  Backward backward = pre_backward(options.shape, inputs, forward, random_output_gradients(options));
  const double allowed = 5e-5 * 1e-3 * backward.dalpha_terms;
  // As if all had cancelled.
  std::ranges::fill(backward.dalpha, 0.0);
  const Reference dalpha = outputs_of(options.shape, backward)[2];
  ASSERT_EQ(dalpha.name, "dalpha");
  EXPECT_GT(allowed, 0.0);
  EXPECT_TRUE(compare(dalpha, std::vector{0.99 * allowed, 0.0, 0.0}, MHCJIT_BF16).ok());
  EXPECT_FALSE(compare(dalpha, std::vector{1.01 * allowed, 0.0, 0.0}, MHCJIT_BF16).ok());
}

// alpha * u + bias of one stream and one token is one number, which may be as small as chance makes it.
TEST(LeastNorm, OfHResMattersForFewNumbersOnly) {
  RandomOptions options = {.shape = {.T = 1, .n = 1, .D = 64}};
  Inputs inputs = random_inputs(options);
  const Forward before = pre_forward(options.shape, inputs);
  inputs.bias[2] -= before.h_res[0] * (1.0 - 1e-6);
  const Forward forward = pre_forward(options.shape, inputs);
  ASSERT_LT(std::abs(forward.h_res[0]), 1e-5);
  const Reference h_res = outputs_of(options.shape, forward)[2];
  ASSERT_EQ(h_res.name, "h_res");
  const auto right = [&](double off) { return compare(h_res, std::vector{forward.h_res[0] + off}, MHCJIT_BF16).ok(); };
  EXPECT_TRUE(right(1e-6 * forward.h_res_terms));
  EXPECT_FALSE(right(1.1e-5 * forward.h_res_terms));

  for (const int n : {2, 4}) {
    for (const auto& alpha : {initial_alpha, trained_alpha}) {
      options = {.shape = {.T = 16, .n = n, .D = 64}, .alpha = alpha};
      const Forward usual = pre_forward(options.shape, random_inputs(options));
      const std::vector<double>& values = usual.h_res;
      const double norm = std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
      EXPECT_GT(outputs_of(options.shape, usual)[2].least_norm, 0.0);
      EXPECT_LT(outputs_of(options.shape, usual)[2].least_norm, norm);
    }
  }
}

TEST(Outputs, AreAllOfTheHeaderWithTheirRows) {
  const RandomOptions options = {.shape = {.T = 3, .n = 2, .D = 5, .has_gamma = true}};
  const Inputs inputs = random_inputs(options);
  const Forward forward = pre_forward(options.shape, inputs);
  Backward backward = pre_backward(options.shape, inputs, forward, random_output_gradients(options));
  std::vector<Reference> all = outputs_of(options.shape, forward);
  for (const Reference& output : outputs_of(options.shape, backward)) all.push_back(output);
  std::vector<std::string_view> sums;
  for (const Reference& output : all) {
    EXPECT_TRUE(error_bound(output.name, options.dtype).has_value()) << output.name;
    EXPECT_FALSE(output.values.empty()) << output.name;
    EXPECT_EQ(output.least_norm > 0.0, output.name == "dalpha" || output.name == "h_res") << output.name;
    EXPECT_TRUE(compare(output, output.values, options.dtype).ok()) << output.name;
    if (output.row_size == 0)
      sums.push_back(output.name);
    else
      EXPECT_EQ(std::ssize(output.values), output.row_size * options.shape.T) << output.name;
  }
  EXPECT_EQ(all.size(), 11u);
  EXPECT_EQ(sums, (std::vector<std::string_view>{"dphi", "dgamma", "dalpha", "dbias"}));

  Shape without_gamma = options.shape;
  without_gamma.has_gamma = false;
  EXPECT_EQ(outputs_of(without_gamma, backward).size(), 4u);
}

}  // namespace
}  // namespace mhcjit::oracle
