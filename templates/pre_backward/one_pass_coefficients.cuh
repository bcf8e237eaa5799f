// pre_backward in one pass: the scalar warp copies what forward saved, dh_post and dh_res; the coefficient warps make
// dh_mix and c of each token from them and from dh_pre.
#pragma once

#include <common/ring_position.cuh>
#include <common/two_terms.cuh>
#include <device/async.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/one_pass_exchange.cuh>
#include <pre_backward/one_pass_plan.cuh>
#include <pre_backward/one_pass_work.cuh>

// Calls visit(tensor, offset in a slot, floats of a token) for each.
template <class Spec, class Visit>
MHCJIT_DEVICE void visit_scalars(const PreBackwardArgs& args, const Visit& visit) {
  using Plan = PreBackwardOnePass<Spec>;
  visit(args.h_mix, Plan::h_mix_offset, Spec::rows);
  visit(args.dh_res, Plan::dh_res_offset, Spec::n * Spec::n);
  visit(args.dh_post, Plan::dh_post_offset, Spec::n);
  visit(args.h_pre, Plan::h_pre_offset, Spec::n);
  visit(args.h_post, Plan::h_post_offset, Spec::n);
  visit(args.inv_rms, Plan::inv_rms_offset, 1);
}

// Prefetches scalars into the L2 cache, some tiles ahead. The scalar warps of the group share that out: a lane has the
// same 32 bytes of each tile.
template <class Spec>
struct ScalarPrefetch {
  using Plan = PreBackwardOnePass<Spec>;
  static constexpr int ahead = Spec::scalar_slots + 2;
  static constexpr int unit_floats = 8;

  const float* from = nullptr;
  int stride = 0;  // floats from tile to tile

  MHCJIT_DEVICE ScalarPrefetch(const Plan& plan, const PreBackwardArgs& args, int lane) {
    int unit = lane * Spec::group_blocks + plan.rank;
    visit_scalars<Spec>(args, [&](const float* tensor, int, int floats) {
      const int units = Plan::tokens * floats / unit_floats;
      if (tensor != nullptr && unit >= 0 && unit < units) {
        from = tensor + plan.first_token(ahead) * floats + unit * unit_floats;
        stride = plan.groups * Plan::tokens * floats;
      }
      unit -= units;
    });
  }

  // Runs at tile `i`.
  MHCJIT_DEVICE void step(const Plan& plan, const PreBackwardArgs& args, int i) {
    if (from == nullptr || plan.first_token(i + ahead) + Plan::tokens > args.tokens) return;
    device::prefetch_to_l2(from);
    from += stride;
  }
};

template <class Spec>
MHCJIT_DEVICE void copy_scalars(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  bool is_aligned = true;
  int whole_bytes = 0;
  visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
    is_aligned = is_aligned && reinterpret_cast<unsigned long long>(tensor) % 16 == 0;
    if (tensor != nullptr) {
      whole_bytes += Plan::tokens * floats * 4;
      return;
    }
    for (int slot = 0; slot < Spec::scalar_slots; ++slot)
      for (int i = lane; i < Plan::tokens * floats; i += device::warp_size)
        device::store_shared(plan.scalars(slot) + offset + i * 4, 0.0f);
  });
  device::wait_for_previous_kernel();

  ScalarPrefetch<Spec> prefetch(plan, args, lane);
  RingPosition<Spec::scalar_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    const device::SharedAddress full = plan.scalars_full(slot.index);
    if (i >= Spec::scalar_slots) device::barrier_wait(plan.scalars_empty(slot.index), slot.parity ^ 1);
    device::warp_barrier();  // keeps the lanes together, as in the dot warps
    const device::i64 first = plan.first_token(i);
    const device::i64 left = args.tokens - first;
    const device::SharedAddress to = plan.scalars(slot.index);
    if (is_aligned && left >= Plan::tokens) {
      if (lane == 0) {
        device::barrier_arrive_expect(full, whole_bytes);
        visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
          if (tensor != nullptr)
            device::copy_bytes(to + offset, tensor + first * floats, Plan::tokens * floats * 4, full);
        });
      }
    } else {
      // Tokens beyond the last become zeros, so that they add nothing.
      visit_scalars<Spec>(args, [&](const float* tensor, int offset, int floats) {
        if (tensor == nullptr) return;
        for (int e = lane; e < Plan::tokens * floats; e += device::warp_size)
          device::store_shared(to + offset + e * 4, e < left * floats ? tensor[first * floats + e] : 0.0f);
      });
      device::warp_barrier();
      if (lane == 0) device::barrier_arrive(full);
    }
    prefetch.step(plan, args, i);
    slot.advance();
  }
}

// The scalars that a coefficient lane has of one token. Four lanes share a token: lane k has rows 2k and 2k + 1 of each
// block of eight.
template <class Spec>
struct TokenScalars {
  using Plan = PreBackwardOnePass<Spec>;
  static constexpr int n = Spec::n;
  static constexpr int own_rows = Plan::row_blocks * 2;
  static constexpr int own_streams = (n + 3) / 4;
  static constexpr int gate_rows = (2 * n + 7) / 8 * 2;  // the first of own_rows, which may be of pre or post

  float h_mix[own_rows];
  float gradient[own_rows];  // at the logits; for rows of pre, the factor of dh_pre
  float h_pre[own_streams];  // streams k, k + 4, ...
  float inv_rms;

  static MHCJIT_DEVICE int row_of(int k, int i) { return i / 2 * 8 + k * 2 + i % 2; }

  static MHCJIT_DEVICE void load_pair(float (&pair)[2], device::SharedAddress address) {
    if constexpr (n % 2 == 0) {
      const auto values = device::load_shared_2(address);
      pair[0] = values[0];
      pair[1] = values[1];
    } else {
      pair[0] = device::load_shared(address);
      pair[1] = device::load_shared(address + 4);
    }
  }

  // Rows beyond the last load whatever stands behind them and are set to zero.
  MHCJIT_DEVICE void load(device::SharedAddress scalars, float hc_eps, float post_inverse, int token, int k) {
#pragma unroll
    for (int i = 0; i < own_rows; i += 2) {
      float mix[2];
      float slope[2];
      load_pair(mix, scalars + Plan::h_mix_offset + (token * Spec::rows + row_of(k, i)) * 4);
      load_pair(slope, scalars + Plan::dh_res_offset + (token * n * n + row_of(k, i) - 2 * n) * 4);
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = row_of(k, i + e);
        const bool exists = Spec::rows % 8 == 0 || row < Spec::rows;
        h_mix[i + e] = exists ? mix[e] : 0.0f;
        gradient[i + e] = exists ? slope[e] : 0.0f;
        if (i >= gate_rows) continue;
        const bool is_post = row >= n && row < 2 * n;
        const int gate = (token * n + (row < n ? row : is_post ? row - n : 0)) * 4;
        const float h = device::load_shared(scalars + (is_post ? Plan::h_post_offset : Plan::h_pre_offset) + gate);
        const float of_post =
            device::load_shared(scalars + Plan::dh_post_offset + gate) * h * (1.0f - h * post_inverse);
        const float s = h - hc_eps;
        if (row < n)
          gradient[i + e] = s * (1.0f - s);
        else if (is_post)
          gradient[i + e] = post_inverse == 0.0f ? 0.0f : of_post;
      }
    }
#pragma unroll
    for (int i = 0; i < own_streams; ++i)
      if (n % 4 == 0 || i * 4 + k < n)
        h_pre[i] = device::load_shared(scalars + Plan::h_pre_offset + (token * n + i * 4 + k) * 4);
    inv_rms = device::load_shared(scalars + Plan::inv_rms_offset + token * 4);
  }
};

template <class Spec>
MHCJIT_DEVICE void make_coefficients(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                                     const OnePassBackwardWork& work, int coefficient_warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  using Scalars = TokenScalars<Spec>;
  constexpr int n = Spec::n;
  constexpr int own_rows = Scalars::own_rows;
  // A constant if there is one pair, whose registers are few.
  const int pair = Plan::coefficient_pairs == 1 ? 0 : coefficient_warp / Plan::coefficient_warps;
  const int half = coefficient_warp - pair * Plan::coefficient_warps;
  const int token = half * 8 + lane / 4;
  const int k = lane % 4;
  const auto row_of = [&](int i) { return Scalars::row_of(k, i); };
  const float alpha[3] = {args.alpha[0], args.alpha[1], args.alpha[2]};
  float gradient_sums[own_rows] = {};
  float alpha_sums[3] = {};
  const float post_inverse = args.post_mult == 0.0f ? 0.0f : 1.0f / args.post_mult;
  Plan::wait_for_group();

  DotReceiver<Spec> dots(plan, work, token, k);
  RingPosition<Spec::scalar_slots> scalar_slot;
  RingPosition<Spec::exchange_slots> received;
  RingPosition<Spec::coefficient_slots> slot;
  scalar_slot.advance(pair);
  received.advance(pair);
  slot.advance(pair);
#pragma unroll 1
  for (int i = pair; i < plan.tiles; i += Plan::coefficient_pairs) {
    dots.ask(i, received);
    device::barrier_wait(plan.scalars_full(scalar_slot.index), scalar_slot.parity);
    Scalars scalars;
    scalars.load(plan.scalars(scalar_slot.index), args.hc_eps, post_inverse, token, k);
    device::copy_fence();
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.scalars_empty(scalar_slot.index));

    float dh_pre[Plan::dot_parts * 4] = {};
    dots.receive(i, received, half == 0 && lane == 0, dh_pre);
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.dots_read(i));
#pragma unroll
    for (int stream = 0; stream < n; ++stream) {
      dh_pre[stream] += device::shuffle_xor(dh_pre[stream], 1);
      dh_pre[stream] += device::shuffle_xor(dh_pre[stream], 2);
    }

    const float inv_rms = scalars.inv_rms;
    float mix[own_rows];
    float largest = 0.0f;
    float dinv = 0.0f;
#pragma unroll
    for (int r = 0; r < own_rows; ++r) {
      const int row = row_of(r);
      // Selected, not indexed: a run-time index would move dh_pre out of registers.
#pragma unroll
      for (int stream = 0; stream < n; ++stream)
        if (row == stream) scalars.gradient[r] *= dh_pre[stream];
      const float gradient = scalars.gradient[r];
      const float du = (row < n ? alpha[0] : row < 2 * n ? alpha[1] : alpha[2]) * gradient;
      const float product = gradient * scalars.h_mix[r] * inv_rms;
      dinv = device::fma(du, scalars.h_mix[r], dinv);
      gradient_sums[r] += gradient;
      if (row < n)
        alpha_sums[0] += product;
      else if (row < 2 * n)
        alpha_sums[1] += product;
      else
        alpha_sums[2] += product;
      mix[r] = du * inv_rms;
      largest = larger_magnitude(largest, mix[r]);
    }
#pragma unroll
    for (int mask = 1; mask <= 2; mask *= 2) {
      dinv += device::shuffle_xor(dinv, mask);
      largest = larger_magnitude(largest, device::shuffle_xor(largest, mask));
    }
    float inverse = 1.0f;
    [[maybe_unused]] const float scale = Plan::splits_phi ? 1.0f : power_of_two_scale(largest, inverse);

    const device::SharedAddress coefficients = plan.coefficients(slot.index);
    if (i >= Spec::coefficient_slots) device::barrier_wait(plan.coefficients_empty(slot.index), slot.parity ^ 1);
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float first = mix[2 * block];
      const float second = mix[2 * block + 1];
      const TwoTerms terms = two_terms<device::bf16>(first, second);
      const device::SharedAddress to = coefficients + token * Plan::mix_row_bytes + block * 16 + k * 4;
      device::store_shared(to, terms.high);
      device::store_shared(to + Plan::mix_bytes, terms.low);
      if constexpr (!Plan::splits_phi)
        device::store_shared(to + 2 * Plan::mix_bytes, device::pack<device::fp16>(first * scale, second * scale));
    }
    if (k == 0)
      device::store_shared(coefficients + Plan::c_offset + token * 4,
                           -dinv * inv_rms * inv_rms * inv_rms / static_cast<float>(Spec::columns));
    if (k == 1) device::store_shared(coefficients + Plan::scale_offset + token * 4, inverse);
#pragma unroll
    for (int part = 0; part < Plan::dot_parts; ++part)
      if (n % 4 == 0 || part * 4 + k < n)
        device::store_shared(coefficients + Plan::h_offset + ((part * 4 + k) * Plan::tokens + token) * 4,
                             scalars.h_pre[part]);
    device::warp_barrier();
    if (lane == 0) device::barrier_arrive(plan.coefficients_full(slot.index));
    scalar_slot.advance(Plan::coefficient_pairs);
    received.advance(Plan::coefficient_pairs);
    slot.advance(Plan::coefficient_pairs);
  }

  if (plan.rank != 0) return;
#pragma unroll
  for (int mask = 4; mask < device::warp_size; mask *= 2) {
#pragma unroll
    for (int r = 0; r < own_rows; ++r) gradient_sums[r] += device::shuffle_xor(gradient_sums[r], mask);
  }
#pragma unroll
  for (int mask = 1; mask < device::warp_size; mask *= 2) {
#pragma unroll
    for (int kind = 0; kind < 3; ++kind) alpha_sums[kind] += device::shuffle_xor(alpha_sums[kind], mask);
  }
  float* out = work.logit_sums + (plan.group * Plan::coefficient_pairs * Plan::coefficient_warps + coefficient_warp) *
                                     (Plan::row_blocks * 8 + 4);
  if (lane < 4) {
#pragma unroll
    for (int r = 0; r < own_rows; ++r) out[row_of(r)] = gradient_sums[r];
  }
  if (lane == 0) {
#pragma unroll
    for (int kind = 0; kind < 3; ++kind) out[Plan::row_blocks * 8 + kind] = alpha_sums[kind];
  }
}
