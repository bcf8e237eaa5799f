// The gradients that forward and then backward gave, against central differences of the float64 forward along random
// directions: one number for a whole tensor, so that tensors of any size can be checked.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/pre.h"
#include "oracle/storage.h"

namespace mhcjit::test {

// The values of a gradient, by its name in mhcjit.h.
using GradientValues = std::function<std::vector<double>(std::string_view)>;

// A line for each direction in which dx, dphi, dgamma, dalpha or dbias is no derivative; "" where all are. `inputs` are
// what both operators were given, backward with the values that forward saved. Every output gradient is present.
std::string wrong_derivatives(const oracle::Shape& shape, const oracle::Inputs& inputs,
                              const oracle::OutputGradients& output_gradients, oracle::DTypes dtypes,
                              const GradientValues& gradient);

}  // namespace mhcjit::test
