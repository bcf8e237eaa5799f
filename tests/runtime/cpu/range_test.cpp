// The ends of the range, as mhcjit/pre_forward.h says them: where the fp32 sum of a row's squares overflows inv_rms is
// 0, and a row of zeros without norm_eps has an infinite one and NaN coefficients. Other rows are not touched by
// either.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "tests/runtime/cpu/cpu_case.h"

namespace mhcjit::runtime::cpu {
namespace {

class CpuRange : public testing::TestWithParam<mhcjit_dtype> {
 protected:
  static constexpr std::int64_t T = 3, n = 4, D = 100, columns = n * D;
  static constexpr std::int64_t row = 1;

  // All elements of the row are `value`.
  static CpuCase row_of(double value, double norm_eps) {
    CpuCase c({.shape = {.T = T, .n = n, .D = D, .has_gamma = false}, .dtype = GetParam(), .seed = 71});
    std::fill_n(c.inputs.x.begin() + row * columns, columns, value);
    // Products with such an x stay finite.
    if (value > 1) {
      for (double& element : c.inputs.phi) element *= 1e-10;
    }
    c.inputs.norm_eps = norm_eps;
    return c;
  }

  static std::vector<double> of_row(const CpuCase& c, const Tensors& tensors, const std::string& name) {
    const std::vector<double> values = values_of(c, tensors, name);
    const std::size_t width = values.size() / T;
    return {values.begin() + row * width, values.begin() + (row + 1) * width};
  }

  static void expect_other_rows_unchanged(const CpuCase& c, const Tensors& tensors) {
    const Tensors expected = run_forward(row_of(1.0, c.inputs.norm_eps), 1);
    for (const char* name : {"inv_rms", "h_in", "h_post", "h_res", "h_pre"}) {
      const Bytes &got = tensors.at(name), &want = expected.at(name);
      const std::size_t width = got.size() / T;
      for (const std::size_t t : {0, 2}) EXPECT_EQ(std::memcmp(&got[t * width], &want[t * width], width), 0) << name;
    }
  }
};

TEST_P(CpuRange, ASumOfSquaresThatOverflowsMakesInvRmsZero) {
  // rms 1.8e19 / sqrt(400) is 9.2e17: every single square, and every sum of a few, is finite on both sides of it.
  const CpuCase below = row_of(0x1p59, 1e-6);  // 5.8e17
  const double inv_rms = of_row(below, run_forward(below, 1), "inv_rms")[0];
  EXPECT_NEAR(inv_rms * 0x1p59, 1.0, 1e-6);
  EXPECT_GT(inv_rms, 0.0);

  const CpuCase above = row_of(0x1p60, 1e-6);  // 1.2e18
  const Tensors tensors = run_forward(above, 1);
  EXPECT_EQ(of_row(above, tensors, "inv_rms")[0], 0.0);
  // The coefficients are those of a projection of zero.
  for (std::int64_t i = 0; i < n; ++i) {
    EXPECT_NEAR(of_row(above, tensors, "h_pre")[i], 1.0 / (1.0 + std::exp(-above.inputs.bias[i])) + above.inputs.hc_eps,
                1e-6);
  }
  for (const double value : of_row(above, tensors, "h_res")) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(CpuRange, ZerosWithoutNormEpsAreInfiniteAndNaN) {
  const CpuCase zeros = row_of(0.0, 0.0);
  const Tensors tensors = run_forward(zeros, 1);
  EXPECT_EQ(of_row(zeros, tensors, "inv_rms")[0], INFINITY);
  for (const char* name : {"h_pre", "h_post", "h_res", "h_in"}) {
    for (const double value : of_row(zeros, tensors, name)) EXPECT_TRUE(std::isnan(value)) << name;
  }
  for (const double value : of_row(zeros, tensors, "h_mix")) EXPECT_EQ(value, 0.0);
  expect_other_rows_unchanged(zeros, tensors);

  const CpuCase with_eps = row_of(0.0, 1e-6);
  EXPECT_NEAR(of_row(with_eps, run_forward(with_eps, 1), "inv_rms")[0], 1e3, 1e-2);
}

INSTANTIATE_TEST_SUITE_P(DTypes, CpuRange, testing::Values(MHCJIT_BF16, MHCJIT_FP32));

}  // namespace
}  // namespace mhcjit::runtime::cpu
