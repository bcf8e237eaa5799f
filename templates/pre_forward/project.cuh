// pre_forward, second kernel: the projection and the sum of squares, over one range of columns.
//
//     partial_sums[t, s, j] = sum over the columns k of split s of x[t, k] * packed_phi[j, k]       j < M
//     partial_sums[t, s, M] = sum over the columns k of split s of x[t, k]^2
//
// If the blocks that share a tile of tokens form a cluster, they make its outputs too
// (pre_forward/apply_in_cluster.cuh).
//
// Grid:   x = tiles of tokens_per_block tokens * row_blocks, y = k_splits; of clusters, x is of all three.
// Block:  each warp multiplies tokens_per_warp tokens of its own with the block's row_tiles * 8 rows of phi.
// Shared: pipeline_stages chunks of 64 columns, of x (pre_forward/x_stream.cuh) and of packed phi; each is asked for
//         pipeline_stages - 1 chunks before it is multiplied. Then what pre_forward/apply_in_cluster.cuh needs.
#pragma once

#include <device/matrix.cuh>
#include <pre_forward/apply_in_cluster.cuh>
#include <pre_forward/packed_phi.cuh>
#include <pre_forward/partial_sums.cuh>
#include <pre_forward/x_stream.cuh>

template <class Spec>
struct PreForwardProject {
  using Phi = PackedPhi<Spec>;
  using X = XStream<Spec>;
  static constexpr int groups = Spec::tokens_per_warp / 8;  // columns of B operands
  static constexpr int tiles = Spec::row_tiles;
  static constexpr int phi_bytes = Spec::row_tiles * Phi::tile_bytes;  // of a chunk
  static constexpr int chunk_floats = X::shared_floats + Spec::pipeline_stages * phi_bytes / 4;
  static constexpr int apply_floats = ApplyInCluster<Spec>::shared_floats;
  static constexpr int shared_floats = chunk_floats > apply_floats ? chunk_floats : apply_floats;
  static_assert(X::chunk_columns == Phi::chunk_columns);
  static_assert(Spec::row_tiles * Spec::row_blocks * 8 >= Spec::rows);
};

template <class Spec>
MHCJIT_DEVICE void pre_forward_project(const PreForwardArgs& args, const TwoPassWork& work) {
  using Plan = PreForwardProject<Spec>;
  using Phi = typename Plan::Phi;
  using X = typename Plan::X;
  constexpr int groups = Plan::groups;
  constexpr int tiles = Plan::tiles;
  constexpr int chunk_columns = Phi::chunk_columns;

  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  const int lane_token = lane / 4;  // of a group; also the lane's row of a tile
  const int quad = lane % 4;
  using Partials = PartialSums<Spec>;
  const int row_block = Partials::row_block();
  const device::i64 block_token = Partials::first_token();
  const int warp_token = warp * Spec::tokens_per_warp;
  constexpr int all_chunks = Phi::padded_columns / chunk_columns;
  constexpr int chunks_per_sum = Spec::scales_phi ? Spec::columns_per_sum / chunk_columns : 1;
  const int split_columns = Partials::split_chunks(all_chunks, chunks_per_sum) * chunk_columns;
  const int first_column = Partials::split() * split_columns;
  const int last_column = first_column + split_columns < Spec::columns ? first_column + split_columns : Spec::columns;

  const X x(args, block_token, warp_token, device::shared_base());
  const device::SharedAddress shared_phi = device::shared_base() + X::shared_floats * 4;
  const auto copy_phi = [&](int stage, int chunk) {
    const device::u32* from = work.packed_phi + Phi::first_word(chunk / chunk_columns, row_block * tiles);
#pragma unroll
    for (int part = 0; part < Plan::phi_bytes / 16; part += Spec::threads_per_block) {
      const int mine = part + device::thread_index();
      if (part + Spec::threads_per_block <= Plan::phi_bytes / 16 || mine < Plan::phi_bytes / 16)
        device::copy_async<16>(shared_phi + stage * Plan::phi_bytes + mine * 16, from + mine * 4);
    }
  };
  // x is there before phi is packed.
#pragma unroll
  for (int stage = 0; stage < X::stages - 1; ++stage)
    if (first_column + stage * chunk_columns < last_column) x.copy(stage, first_column + stage * chunk_columns);
  device::wait_for_previous_kernel();
#pragma unroll
  for (int stage = 0; stage < X::stages - 1; ++stage) {
    if (first_column + stage * chunk_columns < last_column) copy_phi(stage, first_column + stage * chunk_columns);
    device::copy_commit();
  }

  float sums[tiles][groups][4] = {};
  float squares[groups] = {};
  int stage = 0;
#pragma unroll 1
  for (int chunk = first_column; chunk < last_column; chunk += chunk_columns) {
    // The present chunk is complete, and nobody reads the one before any more.
    device::copy_wait<X::stages - 2>();
    device::block_barrier();
    const device::SharedAddress operands = shared_phi + stage * Plan::phi_bytes + lane * 16;
    const auto operand = [&](int step, int tile) {
      return device::load_shared_words<4>(operands + tile * Phi::tile_bytes + step * device::warp_size * 16);
    };
    typename X::Part::Type parts[groups];
#pragma unroll
    for (int group = 0; group < groups; ++group) parts[group] = x.load(stage, 0, group);
    auto a = operand(0, 0);
    const int asked = chunk + (X::stages - 1) * chunk_columns;
    if (asked < last_column) {
      const int free_stage = stage == 0 ? X::stages - 1 : stage - 1;
      x.copy(free_stage, asked);
      copy_phi(free_stage, asked);
    }
    // The group is empty if there was nothing to copy: the count of groups says which have come.
    device::copy_commit();

    // Operands are read while the MMA before is made: phi a tile ahead, x a step.
#pragma unroll
    for (int step = 0; step < Phi::steps; ++step) {
      device::u32 b[groups][X::Part::terms][2];
#pragma unroll
      for (int group = 0; group < groups; ++group) {
        X::Part::operands(parts[group], b[group]);
        squares[group] = X::Part::add_squares(parts[group], squares[group]);
      }
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        const auto words = a;
        const bool is_last = tile == tiles - 1;
        if (!is_last)
          a = operand(step, tile + 1);
        else if (step < Phi::steps - 1)
          a = operand(step + 1, 0);
#pragma unroll
        for (int group = 0; group < groups; ++group) {
          device::multiply_add<typename X::Operand>(sums[tile][group], words, b[group][0][0], b[group][0][1]);
          if (is_last && step < Phi::steps - 1) parts[group] = x.load(stage, step + 1, group);
        }
        if constexpr (X::Part::terms == 2) {
          // The low terms of x meet the high ones of phi alone, in the sums of low terms: the sums of high terms are
          // rounded once a step, and what is left out is below what two terms can hold.
          const typename Phi::Words high_below = {0, words[0], 0, words[2]};
#pragma unroll
          for (int group = 0; group < groups; ++group)
            device::multiply_add<typename X::Operand>(sums[tile][group], high_below, b[group][1][0], b[group][1][1]);
        }
      }
    }
    stage = stage == X::stages - 1 ? 0 : stage + 1;
  }

  device::let_next_kernel_begin();
  if constexpr (Partials::in_cluster) device::block_barrier();
  const Partials partials(work);
  const device::i64 left = args.tokens - block_token - warp_token;
  const int warp_tokens = left < Spec::tokens_per_warp ? static_cast<int>(left) : Spec::tokens_per_warp;
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int token = group * 8 + quad * 2 + e;
        if (token < warp_tokens)
          partials.set(warp_token + token, tile * 8 + lane_token, sums[tile][group][e] + sums[tile][group][e + 2]);
      }
    }
  }
#pragma unroll
  for (int group = 0; group < groups; ++group) {
    float sum = squares[group] + device::shuffle_xor(squares[group], 1);
    sum += device::shuffle_xor(sum, 2);
    const int token = group * 8 + lane_token;
    if (quad == 0 && token < warp_tokens) partials.set_square(warp_token + token, sum);
  }
  if constexpr (Partials::in_cluster) apply_in_cluster<Spec>(args, work, [] { device::block_barrier(); });
}
