// pre_backward in one pass: how the blocks of a group tell each other their partial sums of dh_pre.
//
// In a cluster a block sends them into the other blocks' shared memory. Blocks that are no cluster write them to a ring
// in global memory, which stays in the L2 cache, and read there until they have come. Each four floats are written and
// read at once; the lowest bits of the four say in which round of the ring that was, so that no fence is needed. The
// ring begins as zeros, and no round is zero next to another zero.
//
// A ring has twice as many slots as `lead`: a block sends tile i once its coefficient warps have read tile i - lead,
// which came from blocks whose coefficient warps had read tile i - 2 * lead.
#pragma once

#include <common/ring_position.cuh>
#include <device/async.cuh>
#include <pre_backward/one_pass_plan.cuh>
#include <pre_backward/one_pass_work.cuh>

// The ring in global memory: [groups, slots, 16 tokens, sources, parts of four floats].
template <class Spec>
struct GlobalRing {
  using Plan = PreBackwardOnePass<Spec>;
  static constexpr int slot_words = Plan::received_bytes / 4;

  static MHCJIT_DEVICE device::u32* place(const OnePassBackwardWork& work, const Plan& plan, int i, int token,
                                          int source) {
    return work.exchange + (device::i64{plan.group} * Spec::exchange_slots + i % Spec::exchange_slots) * slot_words +
           (token * Spec::group_blocks + source) * (Plan::dot_bytes / 4);
  }
  // Of the four floats' lowest bits.
  static MHCJIT_DEVICE device::u32 round(int i) { return static_cast<device::u32>(i / Spec::exchange_slots + 1) % 16; }

  static MHCJIT_DEVICE void store(device::u32* to, const float (&values)[4], device::u32 round) {
    device::Vector<device::u32, 4> words;
#pragma unroll
    for (int e = 0; e < 4; ++e) words[e] = (device::float_bits(values[e]) & ~1u) | (round >> e & 1);
    device::store_relaxed(to, words);
  }
  static MHCJIT_DEVICE bool has_come(const device::Vector<device::u32, 4>& words, device::u32 round) {
    return ((words[0] & 1) | (words[1] & 1) << 1 | (words[2] & 1) << 2 | (words[3] & 1) << 3) == round;
  }
};

// Sends tile i's sums of a token, which eight lanes have all of. The block may.
template <class Spec>
MHCJIT_DEVICE void send_dots(const PreBackwardOnePass<Spec>& plan, const OnePassBackwardWork& work, int i, int slot,
                             int token, int member, const float (&dots)[PreBackwardOnePass<Spec>::dot_parts * 4]) {
  using Plan = PreBackwardOnePass<Spec>;
  if constexpr (Spec::uses_clusters) {
#pragma unroll
    for (int receiver = member; receiver < Spec::group_blocks; receiver += 8) {
#pragma unroll
      for (int part = 0; part < Plan::dot_parts; ++part)
        device::send(device::in_block(plan.received(slot, token, plan.rank) + part * 16, receiver),
                     {dots[part * 4], dots[part * 4 + 1], dots[part * 4 + 2], dots[part * 4 + 3]},
                     device::in_block(plan.dots_received(slot), receiver));
    }
  } else {
    using Ring = GlobalRing<Spec>;
#pragma unroll
    for (int part = 0; part < Plan::dot_parts; ++part) {
      if (member != part) continue;
      const float four[4] = {dots[part * 4], dots[part * 4 + 1], dots[part * 4 + 2], dots[part * 4 + 3]};
      Ring::store(Ring::place(work, plan, i, token, plan.rank) + part * 4, four, Ring::round(i));
    }
    device::warp_barrier();
    if (device::lane_index() == 0) device::barrier_arrive(plan.dots_received(slot));
  }
}

// dh_pre of a token of tile i: lane k of four adds the sums of blocks k, k + 4, ...
template <class Spec>
MHCJIT_DEVICE void receive_dots(const PreBackwardOnePass<Spec>& plan, const OnePassBackwardWork& work, int i,
                                RingPosition<Spec::exchange_slots> slot, int token, int k, bool arms,
                                float (&dh_pre)[PreBackwardOnePass<Spec>::dot_parts * 4]) {
  using Plan = PreBackwardOnePass<Spec>;
  constexpr int blocks = Spec::group_blocks;
  if constexpr (Spec::uses_clusters) {
    device::barrier_wait_cluster(plan.dots_received(slot.index), slot.parity);
    if (arms) plan.arm_dots_received(slot.index);
#pragma unroll
    for (int first = 0; first < blocks; first += 4) {
      if (first + 4 > blocks && first + k >= blocks) break;
#pragma unroll
      for (int part = 0; part < Plan::dot_parts; ++part) {
        const auto four = device::load_shared_4(plan.received(slot.index, token, first + k) + part * 16);
#pragma unroll
        for (int e = 0; e < 4; ++e) dh_pre[part * 4 + e] += four[e];
      }
    }
  } else {
    using Ring = GlobalRing<Spec>;
    // Reads before the sums can have come would slow down all of memory.
    constexpr device::u32 first_wait = 200;  // ns
    constexpr int at_once = 4;
    const device::u32 round = Ring::round(i);
    device::barrier_wait(plan.dots_received(slot.index), slot.parity);
    device::sleep_nanoseconds(first_wait);
#pragma unroll 1
    for (int first = k; first < blocks; first += 4 * at_once) {
      device::Vector<device::u32, 4> words[at_once][Plan::dot_parts];
      const auto from = [&](int source, int part) {
        return Ring::place(work, plan, i, token, first + source * 4) + part * 4;
      };
      const auto is_there = [&](int source) { return first + source * 4 < blocks; };
#pragma unroll
      for (int source = 0; source < at_once; ++source) {
#pragma unroll
        for (int part = 0; part < Plan::dot_parts; ++part)
          if (is_there(source)) words[source][part] = device::load_relaxed(from(source, part));
      }
#pragma unroll
      for (int source = 0; source < at_once; ++source) {
#pragma unroll
        for (int part = 0; part < Plan::dot_parts; ++part) {
          if (!is_there(source)) continue;
          while (!Ring::has_come(words[source][part], round))
            words[source][part] = device::load_relaxed(from(source, part));
#pragma unroll
          for (int e = 0; e < 4; ++e) dh_pre[part * 4 + e] += device::float_of_bits(words[source][part][e] & ~1u);
        }
      }
    }
  }
}
