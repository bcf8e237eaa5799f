// The last step of pre_forward for one token: from a row's h_mix to what the row means.
#pragma once

#include <device.cuh>
#include <pre_args.cuh>

MHCJIT_DEVICE float sigmoid(float value) { return 1.0f / (1.0f + device::exponential(-value)); }

// Which of alpha's three values scales a row.
template <class Spec>
MHCJIT_DEVICE int alpha_index(int row) {
  return row < Spec::n ? 0 : row < 2 * Spec::n ? 1 : 2;
}

// 1 / sqrt(mean(X^2) + norm_eps), from the sum of squares.
template <class Spec>
MHCJIT_DEVICE float inverse_rms(float sum_of_squares, float norm_eps) {
  const float mean = sum_of_squares / static_cast<float>(Spec::columns);
  return 1.0f / device::square_root(mean + norm_eps);
}

// h_pre, h_post or h_res of a row, from u = h_mix * inv_rms.
template <class Spec>
MHCJIT_DEVICE float coefficient(int row, float u, float alpha, float bias, float hc_eps) {
  const float logit = device::fma(alpha, u, bias);
  if (row < Spec::n) return sigmoid(logit) + hc_eps;
  return row < 2 * Spec::n ? 2.0f * sigmoid(logit) : logit;
}

template <class Spec>
MHCJIT_DEVICE void store_coefficient(const PreForwardArgs& args, device::i64 token, int row, float h_mix, float value) {
  constexpr int n = Spec::n;
  if (args.h_mix != nullptr) args.h_mix[token * Spec::rows + row] = h_mix;
  if (row < n) {
    if (args.h_pre != nullptr) args.h_pre[token * n + row] = value;
  } else if (row < 2 * n) {
    args.h_post[token * n + row - n] = value;
  } else {
    args.h_res[token * n * n + row - 2 * n] = value;
  }
}
