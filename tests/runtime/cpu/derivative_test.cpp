// Forward and then backward on the CPU, each with what the other left, give derivatives of the float64 forward; and a
// gradient that is off by three thousandths is seen.
#include <gtest/gtest.h>

#include "tests/directional_derivatives.h"
#include "tests/runtime/cpu/cpu_case.h"

namespace mhcjit::runtime::cpu {
namespace {

class CpuDerivative : public testing::TestWithParam<mhcjit_dtype> {};

TEST_P(CpuDerivative, ForwardAndBackwardAgreeWithDifferences) {
  for (const bool has_gamma : {false, true}) {
    for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
      for (const double x_std : {0.05, 1.0, 20.0}) {
        const CpuCase c({.shape = {.T = 13, .n = 4, .D = 127, .has_gamma = has_gamma},
                         .dtype = GetParam(),
                         .seed = 81,
                         .x_std = x_std,
                         .alpha = alpha},
                        /*has_fp32_dx=*/true);
        const Tensors gradients = run_backward(c, run_forward(c, 2), 2);
        const auto wrong = [&](double factor) {
          return test::wrong_derivatives(c.options.shape, c.inputs, c.gradients, c.dtypes(),
                                         [&](std::string_view tensor) {
                                           std::vector<double> values = values_of(c, gradients, std::string(tensor));
                                           for (double& value : values) value *= factor;
                                           return values;
                                         });
        };
        EXPECT_EQ(wrong(1.0), "") << "x_std " << x_std << " alpha[0] " << alpha[0];
        const std::string of_fault = wrong(1.003);
        for (const std::string tensor : {"dx", "dphi", "dgamma", "dalpha", "dbias"})
          EXPECT_EQ(of_fault.find(tensor + " ") != std::string::npos, has_gamma || tensor != "dgamma")
              << tensor << " in\n"
              << of_fault;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(DTypes, CpuDerivative, testing::Values(MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32));

}  // namespace
}  // namespace mhcjit::runtime::cpu
