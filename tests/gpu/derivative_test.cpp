// Forward and then backward on the device, each with what the other left: the gradients are derivatives of the float64
// forward, which no backward of the oracle's takes part in.
#include <fmt/format.h>

#include "gpu_test.h"
#include "tests/directional_derivatives.h"

namespace mhcjit::gpu {
namespace {

struct Kind {
  mhcjit_dtype dtype;
  std::int64_t D;
};

class Derivative : public GpuTest, public ::testing::WithParamInterface<Kind> {};

// dx in fp32, since a sum over the rounding of 16 bits shows only large faults.
TEST_P(Derivative, ForwardAndBackwardAgreeWithDifferences) {
  for (const bool has_gamma : {false, true}) {
    for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
      for (const double x_std : {0.05, 1.0, 20.0}) {
        Case item = {{{64, 4, GetParam().D, has_gamma}, GetParam().dtype, 61, x_std, alpha}};
        item.fp32_dx = true;
        const oracle::Inputs inputs = oracle::random_inputs(item.random);
        const oracle::OutputGradients gradients = oracle::random_output_gradients(item.random);
        const ForwardCall forward(gpu(), item, prepare(problem_of(item, MHCJIT_PRE_FORWARD)), inputs);
        const BackwardCall backward(forward, gpu(), item, prepare(problem_of(item, MHCJIT_PRE_BACKWARD)), gradients);
        ASSERT_EQ(forward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
        ASSERT_EQ(backward.run(), MHCJIT_SUCCESS) << mhcjit_last_error();
        EXPECT_EQ(test::wrong_derivatives(item.shape(), inputs, gradients, item.dtypes(),
                                          [&](std::string_view tensor) { return backward.values_of(tensor); }),
                  "")
            << to_string(item);
      }
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<Kind>& info) {
  constexpr const char* dtype_names[] = {"bf16", "fp16", "fp32"};
  return fmt::format("{}_D{}", dtype_names[info.param.dtype], info.param.D);
}

INSTANTIATE_TEST_SUITE_P(, Derivative,
                         ::testing::Values(Kind{MHCJIT_BF16, 1280}, Kind{MHCJIT_FP16, 1280}, Kind{MHCJIT_FP32, 1280},
                                           Kind{MHCJIT_BF16, 127}),
                         name_of);

}  // namespace
}  // namespace mhcjit::gpu
