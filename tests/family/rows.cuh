// pre_forward with a block for each token, the simplest kernel there can be: a thread sums up every 256th column for
// all rows of phi, the block adds these sums, and each thread makes every 256th element of h_in.
//
// Grid:   x = tokens.
// Shared: of each warp the sums of all rows and of the squares.
#pragma once

#include <common/sums.cuh>
#include <pre_forward/coefficients.cuh>

template <class Spec>
struct PreForwardRows {
  static constexpr int sums = Spec::rows + 1;
  static constexpr int shared_floats = Spec::threads_per_block / device::warp_size * sums;
};

template <class Spec>
MHCJIT_DEVICE void pre_forward_rows(const PreForwardArgs& args) {
  using Element = typename Spec::Element;
  constexpr int threads = Spec::threads_per_block;
  constexpr int sums = PreForwardRows<Spec>::sums;
  const int thread = device::thread_index();
  const device::i64 token = device::block_index_x();
  const Element* x = static_cast<const Element*>(args.x) + token * Spec::columns;

  float sum[sums] = {};
  for (int column = thread; column < Spec::columns; column += threads) {
    const float value = device::to_float(x[column]);
    float scaled = value;
    if constexpr (Spec::has_gamma) scaled *= args.gamma[column];
#pragma unroll
    for (int row = 0; row < Spec::rows; ++row)
      sum[row] = device::fma(scaled, args.phi[row * Spec::columns + column], sum[row]);
    sum[Spec::rows] = device::fma(value, value, sum[Spec::rows]);
  }
  group_sum<sums, threads>(sum, device::shared_floats());

  const float inv_rms = inverse_rms<Spec>(sum[Spec::rows], args.norm_eps);
  if (thread == 0 && args.inv_rms != nullptr) args.inv_rms[token] = inv_rms;
  float h_pre[Spec::n];
#pragma unroll
  for (int row = 0; row < Spec::rows; ++row) {
    const float h_mix[1] = {sum[row]};
    const float value[1] = {
        coefficient<Spec>(args, row, sum[row] * inv_rms, args.alpha[alpha_index<Spec>(row)], args.bias[row])};
    if (row < Spec::n) h_pre[row] = value[0];
    if (thread == 0) store_coefficients<Spec, 1>(args, token, row, h_mix, value);
  }

  auto* h_in = static_cast<Element*>(args.h_in) + token * Spec::d;
  for (int d = thread; d < Spec::d; d += threads) {
    float collapsed = 0.0f;
#pragma unroll
    for (int i = 0; i < Spec::n; ++i)
      collapsed = device::fma(h_pre[i], device::to_float(x[i * Spec::d + d]), collapsed);
    h_in[d] = device::from_float<Element>(collapsed);
  }
}
