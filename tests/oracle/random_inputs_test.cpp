// Inputs that are too small, not representable in storage, or different from run to run would weaken every comparison
// that starts from them.
#include "oracle/random_inputs.h"

#include <cmath>

#include <gtest/gtest.h>

#include "oracle/storage.h"

namespace mhcjit::oracle {
namespace {

RandomOptions options_for(mhcjit_dtype dtype, std::uint64_t seed, double x_std) {
  return {.shape = {.T = 40, .n = 4, .D = 300, .has_gamma = true}, .dtype = dtype, .seed = seed, .x_std = x_std};
}

double mean(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double deviation(const std::vector<double>& values) {
  const double center = mean(values);
  double square = 0.0;
  for (const double value : values) square += (value - center) * (value - center);
  return std::sqrt(square / static_cast<double>(values.size()));
}

TEST(RandomInputs, HaveTheStatedDistributions) {
  for (const double x_std : {0.05, 1.0, 20.0}) {
    const RandomOptions options = options_for(MHCJIT_BF16, 3, x_std);
    const Inputs inputs = random_inputs(options);
    EXPECT_NEAR(deviation(inputs.x), x_std, 0.02 * x_std);
    EXPECT_NEAR(mean(inputs.x), 0.0, 0.02 * x_std);
    EXPECT_NEAR(deviation(inputs.phi) * std::sqrt(4 * 300), 1.0, 0.02);
    EXPECT_NEAR(deviation(inputs.gamma), 0.1, 0.01);
    EXPECT_NEAR(mean(inputs.gamma), 1.0, 0.01);
    EXPECT_NEAR(deviation(inputs.bias), 0.1, 0.05);
    const OutputGradients gradients = random_output_gradients(options);
    EXPECT_NEAR(deviation(gradients.dh_in), 1.0, 0.02);
    EXPECT_NEAR(deviation(gradients.dh_res), 1.0, 0.1);
  }
}

TEST(RandomInputs, TheSeedAndNothingElseDecides) {
  const Inputs first = random_inputs(options_for(MHCJIT_BF16, 5, 1.0));
  EXPECT_EQ(first.x, random_inputs(options_for(MHCJIT_BF16, 5, 1.0)).x);
  EXPECT_NE(first.x, random_inputs(options_for(MHCJIT_BF16, 6, 1.0)).x);
  EXPECT_NE(first.x, random_inputs(options_for(MHCJIT_BF16, 5 + (std::uint64_t{1} << 32), 1.0)).x);

  RandomOptions without_gamma = options_for(MHCJIT_BF16, 5, 1.0);
  without_gamma.shape.has_gamma = false;
  const Inputs second = random_inputs(without_gamma);
  EXPECT_TRUE(second.gamma.empty());
  EXPECT_EQ(first.x, second.x);
  EXPECT_EQ(first.phi, second.phi);
  EXPECT_EQ(first.bias, second.bias);
}

TEST(RandomInputs, EveryValueIsExactInItsStorage) {
  const auto expect_exact = [](const std::vector<double>& values, mhcjit_dtype dtype) {
    const std::vector<std::byte> storage = to_storage(values, dtype);
    EXPECT_EQ(storage.size(), values.size() * bytes_of(dtype));
    EXPECT_EQ(from_storage(storage.data(), std::ssize(values), dtype), values);
  };
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32}) {
    const RandomOptions options = options_for(dtype, 9, 20.0);
    const Inputs inputs = random_inputs(options);
    const OutputGradients gradients = random_output_gradients(options);
    expect_exact(inputs.x, dtype);
    expect_exact(gradients.dh_in, dtype);
    for (const auto& values :
         {inputs.phi, inputs.alpha, inputs.bias, inputs.gamma, gradients.dh_post, gradients.dh_res}) {
      expect_exact(values, MHCJIT_FP32);
    }
  }
}

TEST(Storage, RoundsWhatDoesNotFit) {
  const std::vector<double> third = {1.0 / 3.0, -1e6};
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32}) {
    const std::vector<std::byte> storage = to_storage(third, dtype);
    const std::vector<double> read = from_storage(storage.data(), 2, dtype);
    EXPECT_EQ(read[0], round_to(third[0], dtype));
    EXPECT_NE(read[0], third[0]);
    EXPECT_EQ(std::isinf(read[1]), dtype == MHCJIT_FP16);
  }
}

TEST(Storage, SpacingIsTheDistanceOfNeighbours) {
  for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16}) {
    const std::uint16_t infinity = dtype == MHCJIT_BF16 ? 0x7f80 : 0x7c00;
    for (std::uint16_t bits = 0; bits + 1 < infinity; ++bits) {
      const std::uint16_t neighbours[] = {bits, static_cast<std::uint16_t>(bits + 1)};
      const std::vector<double> values = from_storage(neighbours, 2, dtype);
      ASSERT_EQ(spacing(values[0], dtype), values[1] - values[0]) << values[0];
      ASSERT_EQ(spacing(-values[0], dtype), values[1] - values[0]) << values[0];
      ASSERT_EQ(spacing((values[0] + values[1]) / 2, dtype), values[1] - values[0]) << values[0];
    }
    const std::uint16_t last = infinity - 1;
    EXPECT_EQ(largest_number(dtype), from_storage(&last, 1, dtype)[0]);
  }
}

}  // namespace
}  // namespace mhcjit::oracle
