// pre_backward, first kernel: the gradients at the logits of each token, and their sums over tokens.
//
//     dh_pre[i] = sum_d dh_in[d] * x[i, d];   p, q, r, du, dh_mix, c as in the public header
//     bias_partials[slot, 0, j] = sum over the slot's tokens of [p, q, r][j]
//     bias_partials[slot, 1, j] = sum over the slot's tokens of [p, q, r][j] * u[j]
//
// Grid:   x = at most bias_slots * threads_per_token / threads_per_block blocks; each steps through the tokens.
// Block:  threads_per_token threads work on one token; such a group is one slot.
// Shared: n floats for each warp (sums within a group).
#pragma once

#include <common/sums.cuh>
#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/portable_work.cuh>

template <class Spec>
struct PreBackwardCoefficients {
  static constexpr int tokens_per_block = Spec::threads_per_block / Spec::threads_per_token;
  static constexpr int shared_floats = Spec::threads_per_block / device::warp_size * Spec::n;
  static constexpr int rows_per_member = (Spec::rows + Spec::threads_per_token - 1) / Spec::threads_per_token;
};

// dh_pre of one token, in every thread of its group.
template <class Spec>
MHCJIT_DEVICE void input_gradient_dots(const PreBackwardArgs& args, device::i64 token, int member,
                                       float (&dh_pre)[Spec::n]) {
  using Element = typename Spec::Element;
  const Element* x = static_cast<const Element*>(args.x) + token * Spec::columns;
  const Element* dh_in = static_cast<const Element*>(args.dh_in) + token * Spec::d;
  for (int d = member * Spec::vec_size; d < Spec::d; d += Spec::threads_per_token * Spec::vec_size) {
    const auto gradient = device::load<Spec::vec_size>(dh_in + d);
#pragma unroll
    for (int stream = 0; stream < Spec::n; ++stream) {
      const auto values = device::load<Spec::vec_size>(x + device::i64{stream} * Spec::d + d);
#pragma unroll
      for (int e = 0; e < Spec::vec_size; ++e)
        dh_pre[stream] = device::fma(device::to_float(gradient[e]), device::to_float(values[e]), dh_pre[stream]);
    }
  }
}

template <class Spec>
MHCJIT_DEVICE void pre_backward_coefficients(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardCoefficients<Spec>;
  constexpr int n = Spec::n;
  const int group = device::thread_index() / Spec::threads_per_token;
  const int member = device::thread_index() % Spec::threads_per_token;
  float* scratch = device::shared_floats();
  device::wait_for_previous_kernel();

  float bias_sums[Plan::rows_per_member] = {};
  float alpha_sums[Plan::rows_per_member] = {};
  for (device::i64 tile = device::block_index_x() * Plan::tokens_per_block; tile < args.tokens;
       tile += device::grid_size_x() * Plan::tokens_per_block) {
    const device::i64 token = tile + group;
    const bool exists = token < args.tokens;

    float dh_pre[n] = {};
    if (exists && args.dh_in != nullptr) input_gradient_dots<Spec>(args, token, member, dh_pre);
    group_sum<n, Spec::threads_per_token>(dh_pre, scratch);

    const float inv_rms = exists ? args.inv_rms[token] : 0.0f;
    float dinv[1] = {};
#pragma unroll
    for (int i = 0; i < Plan::rows_per_member; ++i) {
      const int row = member + i * Spec::threads_per_token;
      if (!exists || row >= Spec::rows) continue;
      const float h_mix = args.h_mix[token * Spec::rows + row];
      float gradient = 0.0f;  // at the row's logit
      float scale;
      if (row < n) {
        const float s = args.h_pre[token * n + row] - args.hc_eps;
        // Selected, not indexed: a run-time index would move dh_pre out of registers.
#pragma unroll
        for (int stream = 0; stream < n; ++stream)
          if (row == stream) gradient = dh_pre[stream] * s * (1.0f - s);
        scale = args.alpha[0];
      } else if (row < 2 * n) {
        const float h_post = args.h_post[token * n + row - n];
        if (args.dh_post != nullptr && args.post_mult != 0.0f)
          gradient = args.dh_post[token * n + row - n] * h_post * (1.0f - h_post / args.post_mult);
        scale = args.alpha[1];
      } else {
        if (args.dh_res != nullptr) gradient = args.dh_res[token * n * n + row - 2 * n];
        scale = args.alpha[2];
      }
      const float du = scale * gradient;
      work.dh_mix[token * Spec::padded_rows + row] = du * inv_rms;
      dinv[0] = device::fma(du, h_mix, dinv[0]);
      bias_sums[i] += gradient;
      alpha_sums[i] = device::fma(gradient, h_mix * inv_rms, alpha_sums[i]);
    }
    if (exists) {
      for (int row = Spec::rows + member; row < Spec::padded_rows; row += Spec::threads_per_token)
        work.dh_mix[token * Spec::padded_rows + row] = 0.0f;
    }
    group_sum<1, Spec::threads_per_token>(dinv, scratch);
    if (exists && member == 0)
      work.x_coefficient[token] = -dinv[0] * inv_rms * inv_rms * inv_rms / static_cast<float>(Spec::columns);
  }

  float* slot = work.bias_partials + (device::block_index_x() * Plan::tokens_per_block + group) * 2 * Spec::rows;
#pragma unroll
  for (int i = 0; i < Plan::rows_per_member; ++i) {
    const int row = member + i * Spec::threads_per_token;
    if (row >= Spec::rows) continue;
    slot[row] = bias_sums[i];
    slot[Spec::rows + row] = alpha_sums[i];
  }
}
