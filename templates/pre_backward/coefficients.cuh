// pre_backward, first kernel: the gradients at the logits of each token, and their sums over tokens.
//
//     dh_pre[i] = sum_d dh_in[d] * x[i, d];   p, q, r, du, dh_mix, c as in the public header
//     bias_partials[0, j, slot] = sum over the slot's tokens of [p, q, r][j]
//     bias_partials[1, j, slot] = sum over the slot's tokens of [p, q, r][j] * u[j]
//
// Grid:   x = bias_slots blocks, each of which steps through the tokens.
// Block:  threads_per_token threads, a group, work on one token; the first warp of a group makes its record.
// Shared: n floats for each warp (sums within a group), then 2 M floats for each group.
#pragma once

#include <common/packed.cuh>
#include <common/sums.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/portable_work.cuh>
#include <pre_backward/token_record.cuh>

template <class Spec>
struct PreBackwardCoefficients {
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int tokens_per_block = Spec::threads_per_block / Spec::threads_per_token;
  static constexpr int rows_per_lane = (TokenRecord<Spec>::dx_rows + device::warp_size - 1) / device::warp_size;
  static constexpr int scratch_floats = warps * Spec::n;
  static constexpr int shared_floats = scratch_floats + tokens_per_block * 2 * Spec::rows;
};

// A thread's part of dh_pre of one token.
template <class Spec>
struct InputGradientDots {
  using Element = typename Spec::Element;
  using Part = Packed<Element, Spec::vec_size>;
  static constexpr int step = Spec::threads_per_token * Spec::vec_size;
  // A thread has the loads of so many steps in flight: as many as its registers hold.
  static constexpr int registers = (static_cast<int>(sizeof(Part)) + 3) / 4 * (Spec::n + 1);
  static constexpr int at_once = registers < 20 ? 40 / registers : 1;

  const Element* x;
  const Element* dh_in;
  float sums[Spec::n] = {};

  MHCJIT_DEVICE InputGradientDots(const PreBackwardArgs& args, device::i64 token)
      : x(static_cast<const Element*>(args.x) + token * Spec::columns),
        dh_in(static_cast<const Element*>(args.dh_in) + token * Spec::d) {}

  MHCJIT_DEVICE void add(int member) {
    int d = member * Spec::vec_size;
#pragma unroll 1
    for (; d + (at_once - 1) * step < Spec::d; d += at_once * step) add_steps<at_once>(d);
#pragma unroll 1
    for (; d < Spec::d; d += step) add_steps<1>(d);
  }

 private:
  template <int steps>
  MHCJIT_DEVICE void add_steps(int d) {
    Part gradient[steps];
    Part values[steps][Spec::n];
#pragma unroll
    for (int i = 0; i < steps; ++i) {
      gradient[i].load(dh_in + d + i * step);
#pragma unroll
      for (int stream = 0; stream < Spec::n; ++stream)
        values[i][stream].load(x + device::i64{stream} * Spec::d + d + i * step);
    }
#pragma unroll
    for (int i = 0; i < steps; ++i) {
      float dh[Spec::vec_size];
      gradient[i].unpack(dh);
#pragma unroll
      for (int stream = 0; stream < Spec::n; ++stream) {
        float of_stream[Spec::vec_size];
        values[i][stream].unpack(of_stream);
#pragma unroll
        for (int e = 0; e < Spec::vec_size; ++e) sums[stream] = device::fma(dh[e], of_stream[e], sums[stream]);
      }
    }
  }
};

// A row's gradient is made of these and dh_pre. They are loaded before the wait for x.
struct RowInputs {
  float h_mix = 0.0f;
  float gate = 0.0f;      // h_pre or h_post
  float gradient = 0.0f;  // dh_post or dh_res

  template <class Spec>
  MHCJIT_DEVICE void load(const PreBackwardArgs& args, device::i64 token, int row) {
    constexpr int n = Spec::n;
    if (row >= Spec::rows) return;
    h_mix = args.h_mix[token * Spec::rows + row];
    if (row < n) {
      gate = args.h_pre[token * n + row];
    } else if (row < 2 * n) {
      gate = args.h_post[token * n + row - n];
      if (args.dh_post != nullptr) gradient = args.dh_post[token * n + row - n];
    } else if (args.dh_res != nullptr) {
      gradient = args.dh_res[token * n * n + row - 2 * n];
    }
  }

  // Returns the gradient at the row's logit. Rows of pre are given their dh_pre.
  template <class Spec>
  MHCJIT_DEVICE float at_logit(const PreBackwardArgs& args, int row, float dh_pre) const {
    if (row < Spec::n) {
      const float s = gate - args.hc_eps;
      return dh_pre * s * (1.0f - s);
    }
    if (row >= 2 * Spec::n) return gradient;
    return args.dh_post != nullptr && args.post_mult != 0.0f ? gradient * gate * (1.0f - gate / args.post_mult) : 0.0f;
  }
};

MHCJIT_DEVICE void store_half(char* address, device::u16 bits) {
  device::store(reinterpret_cast<device::u16*>(address), device::Vector<device::u16, 1>{{bits}});
}
MHCJIT_DEVICE void store_float(char* address, float value) {
  device::store(reinterpret_cast<float*>(address), device::Vector<float, 1>{{value}});
}

template <class Spec>
MHCJIT_DEVICE void pre_backward_coefficients(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardCoefficients<Spec>;
  using Record = TokenRecord<Spec>;
  constexpr int n = Spec::n;
  constexpr int rows_per_lane = Plan::rows_per_lane;
  const int lane = device::thread_index() % device::warp_size;
  const int group = device::thread_index() / Spec::threads_per_token;
  const int member = device::thread_index() % Spec::threads_per_token;
  const bool makes_record = member < device::warp_size;
  float* scratch = device::shared_floats();
  // The next kernel may begin at once: it reads x and phi before it waits for this one, and both are there now.
  device::wait_for_previous_kernel();
  device::let_next_kernel_begin();

  float alpha[rows_per_lane];
#pragma unroll
  for (int i = 0; i < rows_per_lane; ++i) {
    const int row = lane + i * device::warp_size;
    alpha[i] = args.alpha[row < n ? 0 : row < 2 * n ? 1 : 2];
  }

  float bias_sums[rows_per_lane] = {};
  float alpha_sums[rows_per_lane] = {};
#pragma unroll 1
  for (device::i64 tile = device::block_index_x() * Plan::tokens_per_block; tile < args.tokens;
       tile += device::grid_size_x() * Plan::tokens_per_block) {
    const device::i64 token = tile + group;
    const bool exists = token < args.tokens;

    RowInputs rows[rows_per_lane];
    float inv_rms = 0.0f;
    if (exists && makes_record) {
      inv_rms = args.inv_rms[token];
#pragma unroll
      for (int i = 0; i < rows_per_lane; ++i) rows[i].template load<Spec>(args, token, lane + i * device::warp_size);
    }

    InputGradientDots<Spec> dots(args, token);
    if (exists && args.dh_in != nullptr) dots.add(member);
    group_sum<n, Spec::threads_per_token>(dots.sums, scratch);
    float dh_pre = 0.0f;  // lane i has that of stream i: selected, not indexed, to stay in registers
#pragma unroll
    for (int stream = 0; stream < n; ++stream)
      if (lane == stream) dh_pre = dots.sums[stream];
    if (!exists || !makes_record) continue;

    char* record =
        reinterpret_cast<char*>(work.records) + Record::number_of(token, args.tokens, work.phases) * Record::bytes;
    float dh_mix[rows_per_lane];
    float dinv = 0.0f;
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < rows_per_lane; ++i) {
      const int row = lane + i * device::warp_size;
      const float gradient = row < Spec::rows ? rows[i].template at_logit<Spec>(args, row, dh_pre) : 0.0f;
      const float du = row < Spec::rows ? alpha[i] * gradient : 0.0f;
      dh_mix[i] = row < Spec::rows ? du * inv_rms : 0.0f;
      dinv = device::fma(du, rows[i].h_mix, dinv);
      bias_sums[i] += gradient;
      alpha_sums[i] = device::fma(gradient, rows[i].h_mix * inv_rms, alpha_sums[i]);
      largest = larger_magnitude(largest, dh_mix[i]);
      if (row < Record::term_rows) {
        const device::bf16 high = device::from_float<device::bf16>(dh_mix[i]);
        store_half(record + row * 2, high.bits);
        store_half(record + Record::low + row * 2,
                   device::from_float<device::bf16>(dh_mix[i] - device::to_float(high)).bits);
      }
    }
    dinv = warp_sum(dinv);
    float inverse_scale = 1.0f;
    if constexpr (Record::is_scaled) {
      const float scale = power_of_two_scale(warp_largest(largest), inverse_scale);
#pragma unroll
      for (int i = 0; i < rows_per_lane; ++i) {
        const int row = lane + i * device::warp_size;
        if (row < Record::dx_rows)
          store_half(record + Record::scaled + row * 2, device::from_float<device::fp16>(dh_mix[i] * scale).bits);
      }
    }
    if (lane < n) store_float(record + Record::h_pre + lane * 4, rows[0].gate);
    if (lane == 0) {
      store_float(record + Record::scalars, -dinv * inv_rms * inv_rms * inv_rms / static_cast<float>(Spec::columns));
      store_float(record + Record::scalars + 4, inverse_scale);
    }
  }

  float* sums = scratch + Plan::scratch_floats;  // [group, 2, M]
  if (makes_record) {
#pragma unroll
    for (int i = 0; i < rows_per_lane; ++i) {
      const int row = lane + i * device::warp_size;
      if (row >= Spec::rows) continue;
      sums[group * 2 * Spec::rows + row] = bias_sums[i];
      sums[(group * 2 + 1) * Spec::rows + row] = alpha_sums[i];
    }
  }
  device::block_barrier();
  for (int i = device::thread_index(); i < 2 * Spec::rows; i += Spec::threads_per_block) {
    float sum = sums[i];
#pragma unroll
    for (int other = 1; other < Plan::tokens_per_block; ++other) sum += sums[other * 2 * Spec::rows + i];
    work.bias_partials[device::i64{i} * work.bias_slots + device::block_index_x()] = sum;
  }
}
