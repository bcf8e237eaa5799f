// The CPU operator against the float64 oracle, every tensor held to the documented bound: it is the check of the GPU
// kernels on machines without one, so a wrong tail, offset or factor here would hide the same fault there.
#include <gtest/gtest.h>

#include "tests/runtime/cpu/cpu_case.h"

namespace mhcjit::runtime::cpu {
namespace {

constexpr mhcjit_dtype dtypes[] = {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32};
constexpr unsigned threads = 2;
constexpr double deviations[] = {0.05, 1.0, 20.0};

void expect_matches_oracle(const oracle::RandomOptions& options, bool fp32_dx = false) {
  const CpuCase c(options, fp32_dx);
  const oracle::Forward reference = oracle::pre_forward(options.shape, c.inputs);
  const Tensors forward = run_forward(c, threads);
  expect_right(c, forward, reference);
  expect_right(c, run_backward(c, forward, threads), oracle_backward(c));
}

class CpuShapes : public testing::TestWithParam<std::tuple<int, std::int64_t>> {};

// Every dtype with and without gamma on every n and D; T, the size of x and alpha take turns.
TEST_P(CpuShapes, EveryOutputIsWithinItsBound) {
  const auto [n, D] = GetParam();
  constexpr std::int64_t token_counts[] = {1, 7, 13, 64};
  std::uint64_t turn = static_cast<std::uint64_t>(n) + static_cast<std::uint64_t>(D);
  for (const mhcjit_dtype dtype : dtypes) {
    for (const bool has_gamma : {false, true}) {
      // The bound of a bf16 tensor is the typical rounding of many elements; one alone may be off by 2^-8.
      const std::int64_t T = D == 1 ? 2001 : token_counts[turn % 4];
      expect_matches_oracle({.shape = {.T = T, .n = n, .D = D, .has_gamma = has_gamma},
                             .dtype = dtype,
                             .seed = turn,
                             .x_std = deviations[turn % 3],
                             .alpha = turn % 2 == 0 ? oracle::initial_alpha : oracle::trained_alpha});
      ++turn;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CpuShapes,
                         testing::Combine(testing::Values(1, 2, 3, 4, 6, 8, 16),
                                          testing::Values<std::int64_t>(1, 8, 127, 256, 1000)));

class CpuTokens : public testing::TestWithParam<std::int64_t> {};

// Every combination of the rest on one odd shape.
TEST_P(CpuTokens, EveryOutputIsWithinItsBound) {
  for (const mhcjit_dtype dtype : dtypes) {
    for (const bool has_gamma : {false, true}) {
      for (const double x_std : deviations) {
        for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
          expect_matches_oracle({.shape = {.T = GetParam(), .n = 3, .D = 137, .has_gamma = has_gamma},
                                 .dtype = dtype,
                                 .seed = 21,
                                 .x_std = x_std,
                                 .alpha = alpha});
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tokens, CpuTokens, testing::Values<std::int64_t>(1, 7, 13, 64));

// Sums over many tokens and many columns must not lose accuracy with their length.
TEST(CpuAccuracy, HoldsForLongSums) {
  expect_matches_oracle({.shape = {.T = 5000, .n = 2, .D = 16, .has_gamma = true}, .dtype = MHCJIT_FP32, .seed = 31});
  expect_matches_oracle({.shape = {.T = 3, .n = 2, .D = 70001, .has_gamma = true}, .dtype = MHCJIT_BF16, .seed = 32});
}

TEST(CpuAccuracy, HoldsForFp32Dx) {
  for (const mhcjit_dtype dtype : dtypes)
    for (const double x_std : deviations)
      expect_matches_oracle(
          {.shape = {.T = 13, .n = 4, .D = 387, .has_gamma = true}, .dtype = dtype, .seed = 34, .x_std = x_std},
          /*fp32_dx=*/true);
}

TEST(CpuAccuracy, HoldsForEveryPostMult) {
  for (const mhcjit_dtype dtype : dtypes)
    for (const double post_mult : {1.0, 0.0, -0.5})
      expect_matches_oracle({.shape = {.T = 13, .n = 4, .D = 127, .has_gamma = true},
                             .dtype = dtype,
                             .seed = 33,
                             .post_mult = post_mult});
}

TEST(CpuAccuracy, AnAbsentOutputGradientCountsAsZero) {
  for (const mhcjit_dtype dtype : dtypes) {
    const CpuCase all_present(
        {.shape = {.T = 13, .n = 4, .D = 127, .has_gamma = true}, .dtype = dtype, .seed = 41, .x_std = 20.0});
    const Tensors forward = run_forward(all_present, threads);
    CpuCase none = all_present;
    for (auto absent :
         {&oracle::OutputGradients::dh_in, &oracle::OutputGradients::dh_post, &oracle::OutputGradients::dh_res}) {
      CpuCase c = all_present;
      (c.gradients.*absent).clear();
      (none.gradients.*absent).clear();
      expect_right(c, run_backward(c, forward, threads), oracle_backward(c));
    }
    // With a reference of zeros only zeros pass.
    expect_right(none, run_backward(none, forward, threads), oracle_backward(none));
  }
}

class CpuAccumulation : public testing::TestWithParam<std::tuple<mhcjit_dtype, bool>> {};

TEST_P(CpuAccumulation, AddsToExistingGradients) {
  const auto [dtype, fp32_dx] = GetParam();
  const oracle::RandomOptions options{
      .shape = {.T = 13, .n = 4, .D = 127, .has_gamma = true}, .dtype = dtype, .seed = 51};
  const CpuCase c(options, fp32_dx);
  const Tensors forward = run_forward(c, threads);
  // Existing gradients of the size of the new ones: those of another problem.
  oracle::RandomOptions other_options = options;
  other_options.seed = 52;
  const CpuCase other(other_options, fp32_dx);
  const Tensors existing = run_backward(other, run_forward(other, threads), threads);

  for (const bool dx_only : {true, false}) {
    const Tensors result = run_backward(
        c, forward, threads,
        {.unwanted = {}, .initial = existing, .accumulate_dx = dx_only, .accumulate_parameters = !dx_only});
    oracle::Backward reference = oracle_backward(c);
    const auto add_existing = [&](const std::string& name, std::vector<double>& sum) {
      const std::vector<double> old = values_of(c, existing, name);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += old[i];
    };
    if (dx_only) {
      add_existing("dx", reference.dx);
    } else {
      add_existing("dphi", reference.dphi);
      add_existing("dgamma", reference.dgamma);
      add_existing("dalpha", reference.dalpha);
      add_existing("dbias", reference.dbias);
    }
    expect_right(c, result, reference);
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, CpuAccumulation, testing::Combine(testing::ValuesIn(dtypes), testing::Bool()));

}  // namespace
}  // namespace mhcjit::runtime::cpu
