// The last step of pre_forward for one token: from a row's h_mix to what the row means.
#pragma once

#include <device/device.cuh>
#include <pre_forward/args.cuh>

MHCJIT_DEVICE float sigmoid(float value) { return device::reciprocal(1.0f + device::exponential(-value)); }

// Index of the value of alpha that scales a row.
template <class Spec>
MHCJIT_DEVICE int alpha_index(int row) {
  return row < Spec::n ? 0 : row < 2 * Spec::n ? 1 : 2;
}

// 1 / sqrt(mean(X^2) + norm_eps), from the sum of squares.
template <class Spec>
MHCJIT_DEVICE float inverse_rms(float sum_of_squares, float norm_eps) {
  constexpr float inverse_columns = 1.0f / static_cast<float>(Spec::columns);
  return device::reciprocal_square_root(device::fma(sum_of_squares, inverse_columns, norm_eps));
}

// alpha and bias of four rows. Rows beyond the last, which nobody stores, have those of the last.
struct RowScales {
  float alpha[4];
  float bias[4];

  template <class Spec>
  MHCJIT_DEVICE static RowScales of(const PreForwardArgs& args, int first_row) {
    RowScales scales;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int row = first_row + e < Spec::rows ? first_row + e : Spec::rows - 1;
      scales.alpha[e] = args.alpha[alpha_index<Spec>(row)];
      scales.bias[e] = args.bias[row];
    }
    return scales;
  }
};

// h_pre, h_post or h_res of a row, from u = h_mix * inv_rms. Without branches: a warp has rows of each kind.
template <class Spec>
MHCJIT_DEVICE float coefficient(const PreForwardArgs& args, int row, float u, float alpha, float bias) {
  const float logit = device::fma(alpha, u, bias);
  const float gate = sigmoid(logit);
  const float mixed = row < 2 * Spec::n ? args.post_mult * gate : logit;
  return row < Spec::n ? gate + args.hc_eps : mixed;
}

// Stores `count` consecutive rows of a token: h_mix, and the coefficients where they belong. Rows of different kinds
// are stored one by one.
template <class Spec, int count>
MHCJIT_DEVICE void store_coefficients(const PreForwardArgs& args, device::i64 token, int row,
                                      const float (&h_mix)[count], const float (&value)[count]) {
  constexpr int n = Spec::n;
  // Rows that are all of one kind, and all below M or all beyond it.
  constexpr int run = n % count == 0 ? count : 1;
  // One multiplication gives the offset in 64 bits.
  const auto t = static_cast<device::u32>(token);
#pragma unroll
  for (int first = 0; first < count; first += run) {
    const int first_row = row + first;
    if (first_row >= Spec::rows) return;
    const bool is_pre = first_row < n;
    const bool is_post = !is_pre && first_row < 2 * n;
    float* to = is_pre ? args.h_pre : is_post ? args.h_post : args.h_res;
    const auto stride = static_cast<device::u32>(is_pre || is_post ? n : n * n);
    const int skipped = is_pre ? 0 : is_post ? n : 2 * n;
    if (to != nullptr) {
      to += device::multiply_wide(t, stride) + (first_row - skipped);
#pragma unroll
      for (int e = 0; e < run; ++e) to[e] = value[first + e];
    }
    if (args.h_mix != nullptr) {
      float* mix = args.h_mix + device::multiply_wide(t, Spec::rows) + first_row;
#pragma unroll
      for (int e = 0; e < run; ++e) mix[e] = h_mix[first + e];
    }
  }
}
