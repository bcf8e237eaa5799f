// pre_backward in one pass, the dot warps: partial sums of dh_pre over the block's columns.
#pragma once

#include <common/ring_position.cuh>
#include <device/async.cuh>
#include <pre_backward/one_pass_exchange.cuh>
#include <pre_backward/one_pass_plan.cuh>

// 16 bytes of x or dh_in.
template <class Element>
struct SharedChunk {
  static constexpr int size = 8;
  device::Vector<device::u32, 4> words;

  MHCJIT_DEVICE void load(device::SharedAddress address) { words = device::load_shared_words<4>(address); }
  MHCJIT_DEVICE float value(int e) const {
    return e % 2 == 0 ? device::low_half<Element>(words[e / 2]) : device::high_half<Element>(words[e / 2]);
  }
};

template <>
struct SharedChunk<float> {
  static constexpr int size = 4;
  device::Vector<float, 4> values;

  MHCJIT_DEVICE void load(device::SharedAddress address) { values = device::load_shared_4(address); }
  MHCJIT_DEVICE float value(int e) const { return values[e]; }
};

// Eight lanes work on one token. Each load reads 128 bytes of it without bank conflicts.
template <class Spec>
MHCJIT_DEVICE void make_dots(const PreBackwardOnePass<Spec>& plan, const OnePassBackwardWork& work, int dot_warp,
                             int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  using Chunk = SharedChunk<typename Spec::Element>;
  constexpr bool is_wide = Plan::panel_row_bytes == 128;
  constexpr int chunks = Plan::slice * Plan::element_bytes / 16;
  constexpr int panels_at_once = 8 / Plan::chunks_per_row;
  const int token = dot_warp * 4 + (is_wide ? lane / 8 : lane / 16 * 2 + lane / 4 % 2);
  const int member = is_wide ? lane % 8 : lane / 8 % 2 * 4 + lane % 4;
  const int first_panel = member / Plan::chunks_per_row;
  const int in_panel = Plan::in_panel(token, member % Plan::chunks_per_row);
  Plan::wait_for_group();

  RingPosition<Plan::stages> stage;
  RingPosition<Spec::exchange_slots> slot;
#pragma unroll 1
  for (int i = 0; i < plan.tiles; ++i) {
    device::barrier_wait(plan.full(stage.index), stage.parity);
    float dots[Plan::dot_parts * 4] = {};
#pragma unroll
    for (int chunk = 0; chunk < chunks; chunk += 8) {
      if (chunk + 8 > chunks && chunk + member >= chunks) break;
      const int panel = first_panel + chunk / 8 * panels_at_once;
      Chunk gradient;
      Chunk values[Plan::n];
      gradient.load(plan.stage(stage.index) + Plan::x_bytes + panel * Plan::panel_bytes + in_panel);
#pragma unroll
      for (int stream = 0; stream < Plan::n; ++stream)
        values[stream].load(plan.stage(stage.index) + (panel * Plan::n + stream) * Plan::panel_bytes + in_panel);
#pragma unroll
      for (int e = 0; e < Chunk::size; ++e) {
#pragma unroll
        for (int stream = 0; stream < Plan::n; ++stream)
          dots[stream] = device::fma(gradient.value(e), values[stream].value(e), dots[stream]);
      }
    }
#pragma unroll
    for (int bit = 0; bit < 3; ++bit) {
#pragma unroll
      for (int stream = 0; stream < Plan::n; ++stream)
        dots[stream] += device::shuffle_xor(dots[stream], bit == 2 && !is_wide ? 8 : 1 << bit);
    }

    if (i >= Plan::lead) device::barrier_wait(plan.dots_read(i), (i / Plan::lead - 1) & 1);
    // Without this barrier, lanes that send nothing could miss the phase: the tile may go on without them.
    device::warp_barrier();
    send_dots(plan, work, i, slot.index, token, member, dots);
    stage.advance();
    slot.advance();
  }
}
