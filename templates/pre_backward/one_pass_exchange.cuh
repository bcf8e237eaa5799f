// pre_backward in one pass: the exchange of partial sums of dh_pre between the blocks of a group.
//
// In a cluster a block sends them into the other blocks' shared memory. Without a cluster the blocks write them to a
// ring in global memory, which stays in the L2 cache, and poll it. Each four floats are written and read at once. The
// lowest bits of the four hold the round of the ring, so that no fence is needed. The ring begins as zeros, and no
// round is zero next to another zero.
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
  // The round stands in the lowest bits of the four floats.
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

// A coefficient lane's receiver of a token's sums: lane k of four has those of blocks k, k + 4, ...
template <class Spec>
struct DotReceiver {
  using Plan = PreBackwardOnePass<Spec>;
  using Ring = GlobalRing<Spec>;
  using Slot = RingPosition<Spec::exchange_slots>;
  static constexpr int sources = (Spec::group_blocks + 3) / 4;

  const Plan& plan;
  const OnePassBackwardWork& work;
  int token;
  int k;
  // The other sources' sums lie at constant distances: addresses of their own would take two registers each.
  const device::u32* first = nullptr;
  device::Vector<device::u32, 4> words[sources][Plan::dot_parts];  // read through the L2 cache

  MHCJIT_DEVICE DotReceiver(const Plan& plan, const OnePassBackwardWork& work, int token, int k)
      : plan(plan), work(work), token(token), k(k) {}

  MHCJIT_DEVICE bool has(int source) const { return source * 4 + k < Spec::group_blocks; }
  MHCJIT_DEVICE device::Vector<device::u32, 4> read(int source, int part) const {
    return device::load_relaxed(first + source * Plan::dot_bytes + part * 4);
  }

  // Starts the loads of tile i's sums, so that their latency overlaps with other work.
  MHCJIT_DEVICE void ask(int i, Slot slot) {
    if constexpr (!Spec::uses_clusters) {
      device::barrier_wait(plan.dots_received(slot.index), slot.parity);
      // Polling before the sums can have come would slow down all of memory.
      device::sleep_nanoseconds(Spec::first_wait_ns);
      first = Ring::place(work, plan, i, token, k);
#pragma unroll
      for (int source = 0; source < sources; ++source) {
#pragma unroll
        for (int part = 0; part < Plan::dot_parts; ++part)
          if (has(source)) words[source][part] = read(source, part);
      }
    }
  }

  // Adds up what ask() has loaded.
  MHCJIT_DEVICE void receive(int i, Slot slot, bool arms, float (&dh_pre)[Plan::dot_parts * 4]) {
    if constexpr (Spec::uses_clusters) {
      device::barrier_wait_cluster(plan.dots_received(slot.index), slot.parity);
      if (arms) plan.arm_dots_received(slot.index);
#pragma unroll
      for (int source = 0; source < sources; ++source) {
        if (source * 4 + 4 > Spec::group_blocks && !has(source)) break;
#pragma unroll
        for (int part = 0; part < Plan::dot_parts; ++part) {
          const auto four = device::load_shared_4(plan.received(slot.index, token, source * 4 + k) + part * 16);
#pragma unroll
          for (int e = 0; e < 4; ++e) dh_pre[part * 4 + e] += four[e];
        }
      }
    } else {
      // Late sums are read again together: one by one, each would cost a round trip to the L2 cache.
      const device::u32 round = Ring::round(i);
      for (bool are_late = true; are_late;) {
        are_late = false;
#pragma unroll
        for (int source = 0; source < sources; ++source) {
#pragma unroll
          for (int part = 0; part < Plan::dot_parts; ++part) {
            if (!has(source) || Ring::has_come(words[source][part], round)) continue;
            words[source][part] = read(source, part);
            are_late = true;
          }
        }
      }
#pragma unroll
      for (int source = 0; source < sources; ++source) {
        if (!has(source)) continue;
#pragma unroll
        for (int part = 0; part < Plan::dot_parts; ++part) {
#pragma unroll
          for (int e = 0; e < 4; ++e) dh_pre[part * 4 + e] += device::float_of_bits(words[source][part][e] & ~1u);
        }
      }
    }
  }
};
