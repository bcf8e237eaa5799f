// pre_backward in one pass, the consumer warps: dx in place of x, and G in registers for the whole launch. Each warp
// has column tiles of one stream.
#pragma once

#include <common/ring_position.cuh>
#include <common/two_terms.cuh>
#include <device/async.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/column_tile.cuh>
#include <pre_backward/one_pass_plan.cuh>
#include <pre_backward/one_pass_work.cuh>

// Makes the warp's operands of phi * gamma, times a power of two, and returns the inverse of that power.
template <class Spec>
MHCJIT_DEVICE float pack_phi(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args, int warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  const int first_row = lane % 4 * 2;
  float values[Plan::steps][Plan::row_blocks][4];
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = block * 8 + first_row + e % 2;
        const int column = plan.first_column() + Plan::column_of(warp, step) + lane / 4 + e / 2 * 8;
        const bool exists = (Spec::rows % 8 == 0 || row < Spec::rows) && (!Plan::is_ragged || column < Spec::d);
        values[step][block][e] =
            exists ? args.phi[device::i64{row} * Spec::columns + device::i64{Plan::stream_of(warp)} * Spec::d + column]
                   : 0.0f;
      }
    }
  }
  Plan::wait_for_group();

  float largest = 0.0f;
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
    float gamma[2] = {1.0f, 1.0f};
    if constexpr (Spec::has_gamma) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int column = plan.first_column() + Plan::column_of(warp, step) + lane / 4 + half * 8;
        if (!Plan::is_ragged || column < Spec::d) gamma[half] = args.gamma[Plan::stream_of(warp) * Spec::d + column];
      }
    }
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if constexpr (Spec::has_gamma) values[step][block][e] *= gamma[e / 2];
        largest = larger_magnitude(largest, values[step][block][e]);
      }
    }
  }
  if (lane == 0) device::barrier_arrive(plan.phi_loaded());
  largest = warp_largest(largest);
  float inverse = 1.0f;
  const float scale = Plan::splits_phi ? 1.0f : power_of_two_scale(largest, inverse);
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float(&value)[4] = values[step][block];
      device::Vector<device::u32, Plan::phi_words> words;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if constexpr (Plan::splits_phi) {
          const TwoTerms terms = two_terms<device::bf16>(value[2 * half], value[2 * half + 1]);
          words[half] = terms.high;
          words[2 + half] = terms.low;
        } else {
          words[half] = device::pack<device::fp16>(value[2 * half] * scale, value[2 * half + 1] * scale);
        }
      }
      device::store_shared_words(
          plan.phi(warp) + ((step * Plan::row_blocks + block) * device::warp_size + lane) * Plan::phi_words * 4, words);
    }
  }
  return inverse;
}

// The factors of tokens 2q, 2q + 1 and 2q + 8, 2q + 9 of a tile, which a consumer lane needs.
struct TokenFactors {
  float c[2][2];
  float scale[2][2];
  float h_pre[2][2];

  MHCJIT_DEVICE void load(float (&values)[2][2], device::SharedAddress address, int lane) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const auto pair = device::load_shared_2(address + (half * 8 + lane % 4 * 2) * 4);
      values[half][0] = pair[0];
      values[half][1] = pair[1];
    }
  }
};

// Multiplies one or two blocks of eight rows of phi with dh_mix: `phi` has column tiles' operands, `mix` tokens'.
template <class Operand, int blocks>
MHCJIT_DEVICE void multiply_phi(float (&dx)[2][4], const device::u32 (&phi)[blocks][2],
                                const device::u32 (&mix)[2][blocks]) {
#pragma unroll
  for (int block = 0; block < blocks; block += 2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (block + 1 < blocks)
        device::multiply_add<Operand>(dx[half], {phi[block][0], phi[block][1], phi[block + 1][0], phi[block + 1][1]},
                                      mix[half][block], mix[half][block + 1]);
      else
        device::multiply_add<Operand>(dx[half], phi[block][0], phi[block][1], mix[half][block]);
    }
  }
}

// dh_mix as B operands whose columns are the tile's tokens.
template <class Spec>
MHCJIT_DEVICE void load_mix(device::u32 (&mix)[2][PreBackwardOnePass<Spec>::row_blocks], device::SharedAddress rows,
                            int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  constexpr int blocks = Plan::row_blocks;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int first = 0; first < blocks; first += 4) {
      const int block = first + lane / 8 < blocks ? first + lane / 8 : blocks - 1;
      const auto words = device::load_matrices(rows + (half * 8 + lane % 8) * Plan::mix_row_bytes + block * 16);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (first + i < blocks) mix[half][first + i] = words[i];
    }
  }
}

// Turns a tile of x into dx, in place, and adds its share to G.
template <class Spec>
MHCJIT_DEVICE void consume_tile(
    const PreBackwardOnePass<Spec>& plan, device::SharedAddress stage, device::SharedAddress coefficients, int warp,
    float phi_inverse, float (&sums)[PreBackwardOnePass<Spec>::steps][PreBackwardOnePass<Spec>::row_blocks][4]) {
  using Plan = PreBackwardOnePass<Spec>;
  using Tile = ColumnTile<typename Spec::Element>;
  constexpr int blocks = Plan::row_blocks;
  // The lane index is read anew for each tile, so that no register holds addresses from tile to tile.
  const int lane = device::lane_index();

  const int part = warp % Plan::warps_per_stream;
  const int first_chunk = part % Plan::tiles_per_panel * (Plan::tile_row_bytes / 16);
  const int in_panel = Plan::in_panel(Tile::token_of(lane), first_chunk + Tile::chunk_of(lane)) + Tile::byte_of(lane);
  const int first_panel = part / Plan::tiles_per_panel;
  const device::SharedAddress x =
      stage + (first_panel * Plan::n + Plan::stream_of(warp)) * Plan::panel_bytes + in_panel;
  const device::SharedAddress dh_in = stage + Plan::x_bytes + first_panel * Plan::panel_bytes + in_panel;
  const auto at_step = [](device::SharedAddress first, int step, int panel_stride) {
    constexpr int step_bytes = Plan::warps_per_stream * Plan::tile_row_bytes;
    return (first ^ static_cast<device::u32>(step % Plan::steps_per_panel * step_bytes)) +
           step / Plan::steps_per_panel * Plan::panels_per_step * panel_stride;
  };
  const auto x_at = [&](int step) { return at_step(x, step, Plan::n * Plan::panel_bytes); };
  const auto dh_in_at = [&](int step) { return at_step(dh_in, step, Plan::panel_bytes); };
  using PhiWords = device::Vector<device::u32, Plan::phi_words>;
  const device::SharedAddress phi = plan.phi(warp) + lane * static_cast<int>(sizeof(PhiWords));
  const auto load_phi = [&](int step, PhiWords(&words)[blocks]) {
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      words[block] = device::load_shared_words<Plan::phi_words>(phi + (step * blocks + block) * device::warp_size *
                                                                          static_cast<int>(sizeof(PhiWords)));
  };

  Tile next_x;
  Tile next_dh_in;
  PhiWords next_phi[blocks];
  next_x.load(x_at(0));
  load_phi(0, next_phi);

  // dh_mix serves as B operand twice: for dx its columns are tokens, for G they are rows of phi, in two terms.
  device::u32 dx_mix[Plan::splits_phi ? 2 : 1][2][blocks];
  if constexpr (Plan::splits_phi) {
    load_mix<Spec>(dx_mix[0], coefficients, lane);
    load_mix<Spec>(dx_mix[1], coefficients + Plan::mix_bytes, lane);
  } else {
    load_mix<Spec>(dx_mix[0], coefficients + 2 * Plan::mix_bytes, lane);
  }
  device::Vector<device::u32, 4> mix[blocks];  // the high terms of both halves of the tokens, then the low ones
#pragma unroll
  for (int block = 0; block < blocks; ++block)
    mix[block] = device::load_matrices_transposed(coefficients + lane / 16 * Plan::mix_bytes +
                                                  lane % 16 * Plan::mix_row_bytes + block * 16);
  next_dh_in.load(dh_in_at(0));
  TokenFactors token;
  token.load(token.c, coefficients + Plan::c_offset, lane);
  token.load(token.scale, coefficients + Plan::scale_offset, lane);
  token.load(token.h_pre, coefficients + Plan::h_offset + Plan::stream_of(warp) * Plan::tokens * 4, lane);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int e = 0; e < 2; ++e) token.scale[half][e] *= phi_inverse;
  }

#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
    const Tile values = next_x;
    const Tile gradient = next_dh_in;
    device::u32 phi_terms[Plan::phi_words / 2][blocks][2];
#pragma unroll
    for (int block = 0; block < blocks; ++block) {
#pragma unroll
      for (int word = 0; word < Plan::phi_words; ++word) phi_terms[word / 2][block][word % 2] = next_phi[block][word];
    }
    if (step + 1 < Plan::steps) {
      next_x.load(x_at(step + 1));
      load_phi(step + 1, next_phi);
      next_dh_in.load(dh_in_at(step + 1));
    }

    float dx[2][4] = {};
    if constexpr (Plan::splits_phi) {
      multiply_phi<device::bf16>(dx, phi_terms[0], dx_mix[0]);
      multiply_phi<device::bf16>(dx, phi_terms[0], dx_mix[1]);
      multiply_phi<device::bf16>(dx, phi_terms[1], dx_mix[0]);
    } else {
      multiply_phi<device::fp16>(dx, phi_terms[0], dx_mix[0]);
    }
    device::Vector<device::u32, 4> operands[Tile::terms];
    values.operands(operands);
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      device::multiply_add<device::bf16>(sums[step][block], operands[0], mix[block][0], mix[block][1]);
#pragma unroll
    for (int block = 0; block < blocks; ++block)
      device::multiply_add<device::bf16>(sums[step][block], operands[0], mix[block][2], mix[block][3]);
    if constexpr (Tile::terms > 1) {
#pragma unroll
      for (int block = 0; block < blocks; ++block)
        device::multiply_add<device::bf16>(sums[step][block], operands[1], mix[block][0], mix[block][1]);
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        dx[half][e] = device::fma(dx[half][e], token.scale[half][e % 2],
                                  device::fma(values.value(half, e), token.c[half][e % 2],
                                              gradient.value(half, e) * token.h_pre[half][e % 2]));
    }
    Tile::store(x_at(step), dx);
  }
}

// Stores the lane's share of the group's sums in the workspace, or adds it to what stands there.
template <class Spec>
MHCJIT_DEVICE void hand_on_sums(
    const PreBackwardOnePass<Spec>& plan, const OnePassBackwardWork& work, int warp, bool adds,
    const float (&sums)[PreBackwardOnePass<Spec>::steps][PreBackwardOnePass<Spec>::row_blocks][4]) {
  using Plan = PreBackwardOnePass<Spec>;
  const device::i64 first_tile =
      device::i64{plan.group * Spec::group_blocks + plan.rank} * Plan::block_tiles + warp * Plan::steps;
  float* lane_sums = work.phi_sums + (first_tile * Plan::row_blocks * device::warp_size + device::lane_index()) * 4;
#pragma unroll
  for (int step = 0; step < Plan::steps; ++step) {
#pragma unroll
    for (int block = 0; block < Plan::row_blocks; ++block) {
      const float(&sum)[4] = sums[step][block];
      float* words = lane_sums + (step * Plan::row_blocks + block) * device::warp_size * 4;
      device::Vector<float, 4> before{};
      if (adds) before = device::load<4>(words);
      device::store(words, device::Vector<float, 4>{before[0] + sum[0], before[1] + sum[1], before[2] + sum[2],
                                                    before[3] + sum[3]});
    }
  }
}

template <class Spec>
MHCJIT_DEVICE void consume_tiles(const PreBackwardOnePass<Spec>& plan, const PreBackwardArgs& args,
                                 const OnePassBackwardWork& work, int warp, int lane) {
  using Plan = PreBackwardOnePass<Spec>;
  const float phi_inverse = pack_phi(plan, args, warp, lane);
  RingPosition<Plan::stages> stage;
  RingPosition<Spec::coefficient_slots> slot;
#pragma unroll 1
  for (int first = 0; first < plan.tiles; first += work.tiles_per_sum) {
    float sums[Plan::steps][Plan::row_blocks][4] = {};
    const int end = plan.tiles - first < work.tiles_per_sum ? plan.tiles : first + work.tiles_per_sum;
#pragma unroll 1
    for (int i = first; i < end; ++i) {
      device::barrier_wait(plan.full(stage.index), stage.parity);
      device::barrier_wait(plan.coefficients_full(slot.index), slot.parity);
      consume_tile(plan, plan.stage(stage.index), plan.coefficients(slot.index), warp, phi_inverse, sums);
      device::copy_fence();
      device::warp_barrier();
      if (device::lane_index() == 0) {
        device::barrier_arrive(plan.done(stage.index));
        device::barrier_arrive(plan.coefficients_empty(slot.index));
      }
      stage.advance();
      slot.advance();
    }
    if (args.dphi != nullptr || args.dgamma != nullptr) hand_on_sums(plan, work, warp, first > 0, sums);
  }
}
