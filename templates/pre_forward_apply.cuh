// pre_forward, third kernel: the coefficients of each token, and the collapsed streams.
//
//     h_mix, inv_rms from the partial sums; h_pre, h_post, h_res from u = h_mix * inv_rms;
//     h_in[t, d] = sum_i h_pre[i] * x[t, i, d]
//
// Grid:   x = tiles of threads_per_block / threads_per_token tokens.
// Block:  threads_per_token threads work on one token.
//         A thread's first loads of x are under way while the coefficients are made, and the next ones while it works
//         on those before.
// Shared: for each token of the block, M + 1 sums and n values of h_pre.
#pragma once

#include <device.cuh>
#include <packed.cuh>
#include <packed_phi.cuh>
#include <pre_args.cuh>
#include <pre_coefficients.cuh>

template <class Spec>
struct PreForwardApply {
  static constexpr int tokens_per_block = Spec::threads_per_block / Spec::threads_per_token;
  static constexpr int token_floats = Spec::rows + 1 + Spec::n;
  static constexpr int shared_floats = tokens_per_block * token_floats;
};

template <class Spec>
MHCJIT_DEVICE void pre_forward_apply(const PreForwardArgs& args) {
  using Plan = PreForwardApply<Spec>;
  using Element = typename Spec::Element;
  constexpr int n = Spec::n;

  const int group = device::thread_index() / Spec::threads_per_token;
  const int member = device::thread_index() % Spec::threads_per_token;
  const device::i64 token = device::block_index_x() * Plan::tokens_per_block + group;
  const bool exists = token < args.tokens;
  float* sums = device::shared_floats() + group * Plan::token_floats;
  float* h_pre = sums + Spec::rows + 1;

  const Element* x = static_cast<const Element*>(args.x) + token * Spec::columns;
  Packed<Element, Spec::vec_size> values[n];
  const auto load_streams = [&](int d) {
    if (!exists || d >= Spec::d) return;
#pragma unroll
    for (int stream = 0; stream < n; ++stream) values[stream].load(x + device::i64{stream} * Spec::d + d);
  };
  load_streams(member * Spec::vec_size);
  device::wait_for_previous_kernel();

  if (exists) {
    const float* partial = args.partial_sums + token * Spec::k_splits * (Spec::rows + 1);
    for (int row = member; row < Spec::rows + 1; row += Spec::threads_per_token) {
      float sum = 0.0f;
#pragma unroll 8
      for (int split = 0; split < Spec::k_splits; ++split) {
        float value = partial[split * (Spec::rows + 1) + row];
        if (Spec::scales_phi && !Spec::uses_wgmma && row < Spec::rows)
          value *= args.phi_factors[split * PackedPhi<Spec>::tiles * 8 + row];
        sum += value;
      }
      sums[row] = sum;
    }
  }
  device::block_barrier();

  if (exists) {
    const float inv_rms = inverse_rms<Spec>(sums[Spec::rows], args.norm_eps);
    if (member == 0 && args.inv_rms != nullptr) args.inv_rms[token] = inv_rms;
    for (int row = member; row < Spec::rows; row += Spec::threads_per_token) {
      const float value =
          coefficient<Spec>(row, sums[row] * inv_rms, args.alpha[alpha_index<Spec>(row)], args.bias[row], args.hc_eps);
      if (row < n) h_pre[row] = value;
      store_coefficients<Spec, 1>(args, token, row, {sums[row]}, {value});
    }
  }
  device::block_barrier();
  if (!exists) return;

  Element* h_in = static_cast<Element*>(args.h_in) + token * Spec::d;
  constexpr int stride = Spec::threads_per_token * Spec::vec_size;
  for (int d = member * Spec::vec_size; d < Spec::d; d += stride) {
    float sums_of_streams[Spec::vec_size] = {};
#pragma unroll
    for (int stream = 0; stream < n; ++stream) {
      const float weight = h_pre[stream];
      float floats[Spec::vec_size];
      values[stream].unpack(floats);
#pragma unroll
      for (int e = 0; e < Spec::vec_size; ++e) sums_of_streams[e] = device::fma(weight, floats[e], sums_of_streams[e]);
    }
    load_streams(d + stride);
    device::Vector<Element, Spec::vec_size> rounded;
#pragma unroll
    for (int e = 0; e < Spec::vec_size; ++e) rounded[e] = device::from_float<Element>(sums_of_streams[e]);
    device::store(h_in + d, rounded);
  }
}
