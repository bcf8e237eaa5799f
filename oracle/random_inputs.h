// Realistic random inputs, the same bits on every platform for the same seed.
//
// phi has variance 1/(n*D) so that the projections have the size that training gives them; smaller ones would hide
// errors. x ~ x_std * N(0, 1), bias ~ 0.1 * N(0, 1), gamma ~ 1 + 0.1 * N(0, 1), output gradients ~ N(0, 1). Each value
// is rounded to its tensor's storage dtype: x and dh_in to `dtype`, all others to fp32. Each tensor has a random stream
// of its own, so that adding or leaving out gamma changes no other.
#pragma once

#include <array>
#include <cstdint>

#include "mhcjit/mhcjit.h"
#include "oracle/pre.h"

namespace mhcjit::oracle {

inline constexpr std::array<double, 3> initial_alpha = {1.1, 0.9, 1.05};
inline constexpr std::array<double, 3> trained_alpha = {2.0, 0.02, 0.25};

struct RandomOptions {
  Shape shape;
  mhcjit_dtype dtype = MHCJIT_BF16;
  std::uint64_t seed = 0;
  double x_std = 1.0;
  std::array<double, 3> alpha = initial_alpha;
  double post_mult = 2.0;
};

Inputs random_inputs(const RandomOptions& options);
OutputGradients random_output_gradients(const RandomOptions& options);

}  // namespace mhcjit::oracle
