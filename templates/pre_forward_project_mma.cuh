// pre_forward, first kernel, on the tensor cores: the projection and the sum of squares, over one range of columns.
//
//     partial_sums[t, s, j] = sum over the columns k of split s of x[t, k] * phi[j, k] * gamma[k]       j < M
//     partial_sums[t, s, M] = sum over the columns k of split s of x[t, k]^2
//
// Grid:   x = tiles of tokens_per_block tokens * row_blocks, y = k_splits.
// Block:  each warp multiplies tokens_per_warp tokens of its own with the block's row_tiles * 8 rows of phi. x goes
// from
//         global memory straight into registers, as B operands of eight tokens; a register is filled for the next chunk
//         as soon as it has been used for the present one, so that a chunk of x is always under way.
// Shared: phi * gamma as A operands, two chunks of 64 columns (phi_stream.cuh).
#pragma once

#include <device_matrix.cuh>
#include <phi_stream.cuh>
#include <pre_args.cuh>

template <class Spec>
struct PreForwardProjectMma {
  using Phi = PhiStream<Spec>;
  static constexpr int groups = Spec::tokens_per_warp / 8;  // columns of B operands
  static constexpr int tokens_per_block = Spec::threads_per_block / device::warp_size * Spec::tokens_per_warp;
  static constexpr int shared_floats = Phi::shared_floats;
  static_assert(Spec::columns_per_split % Phi::chunk_columns == 0);
  static_assert(Spec::row_tiles * Spec::row_blocks * 8 >= Spec::rows);
};

// Eight columns of a token as four pairs; zero beyond the last column.
template <class Spec>
MHCJIT_DEVICE device::Vector<device::u32, 4> load_pairs(const typename Spec::Element* token, int column) {
  if constexpr (Spec::vec_size == 8) {
    if (Spec::columns % PhiStream<Spec>::chunk_columns == 0 || column < Spec::columns)
      return device::load<4>(reinterpret_cast<const device::u32*>(token + column));
    return {};
  } else {
    device::Vector<device::u32, 4> pairs = {};
#pragma unroll
    for (int first = 0; first < 8; first += Spec::vec_size) {
      if (column + first >= Spec::columns) continue;
      const auto loaded = device::load<Spec::vec_size>(token + column + first);
#pragma unroll
      for (int e = 0; e < Spec::vec_size; ++e)
        pairs[(first + e) / 2] |= device::u32{loaded[e].bits} << (first + e) % 2 * 16;
    }
    return pairs;
  }
}

template <class Spec>
MHCJIT_DEVICE void pre_forward_project_mma(const PreForwardArgs& args) {
  using Plan = PreForwardProjectMma<Spec>;
  using Phi = typename Plan::Phi;
  using Element = typename Spec::Element;
  constexpr int groups = Plan::groups;
  constexpr int tiles = Spec::row_tiles;
  constexpr int chunk_columns = Phi::chunk_columns;

  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  const int lane_token = lane / 4;  // of a group; also the lane's row of a tile
  const int quad = lane % 4;
  const int first_row = static_cast<int>(device::block_index_x() % Spec::row_blocks) * Phi::rows;
  const int split = device::block_index_y();
  const device::i64 first_token =
      device::block_index_x() / Spec::row_blocks * Plan::tokens_per_block + warp * Spec::tokens_per_warp;
  const int first_column = split * Spec::columns_per_split;
  const int last_column =
      first_column + Spec::columns_per_split < Spec::columns ? first_column + Spec::columns_per_split : Spec::columns;

  const Element* x = static_cast<const Element*>(args.x) + (first_token + lane_token) * Spec::columns;
  bool exists[groups];
  device::Vector<device::u32, 4> values[groups][2];  // of the halves of a chunk; those of missing tokens stay zero
#pragma unroll
  for (int group = 0; group < groups; ++group) {
    exists[group] = first_token + group * 8 + lane_token < args.tokens;
#pragma unroll
    for (int half = 0; half < 2; ++half) values[group][half] = {};
  }
  const auto load_x = [&](int half, int chunk) {
#pragma unroll
    for (int group = 0; group < groups; ++group)
      if (exists[group])
        values[group][half] =
            load_pairs<Spec>(x + device::i64{group} * 8 * Spec::columns, chunk + half * 32 + quad * 8);
  };

  float sums[tiles][groups][4] = {};
  float squares[groups] = {};
  Phi phi(args, first_row, device::shared_floats());
  load_x(0, first_column);
  load_x(1, first_column);
#pragma unroll
  for (int batch = 0; batch < 2; ++batch) {
    phi.load(batch, first_column);
    phi.store(batch, 0);
  }
  device::block_barrier();

  int buffer = 0;
#pragma unroll 1
  for (int chunk = first_column; chunk < last_column; chunk += chunk_columns) {
    const int next = chunk + chunk_columns;
    if (next < last_column) phi.load(0, next);
    if constexpr (Phi::scaled) {
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        const float factor = phi.factor(buffer, tile * 8 + lane_token);
#pragma unroll
        for (int group = 0; group < groups; ++group) {
#pragma unroll
          for (int e = 0; e < 4; ++e) sums[tile][group][e] *= factor;
        }
      }
    }
#pragma unroll
    for (int step = 0; step < Phi::steps; ++step) {
      const int half = step / 2;
      const int word = step % 2 * 2;
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        const auto a = phi.operand(buffer, step, tile);
#pragma unroll
        for (int group = 0; group < groups; ++group)
          device::multiply_add<Element>(sums[tile][group], a, values[group][half][word], values[group][half][word + 1]);
      }
#pragma unroll
      for (int group = 0; group < groups; ++group) {
#pragma unroll
        for (int i = word; i < word + 2; ++i) {
          const float low = device::low_half<Element>(values[group][half][i]);
          const float high = device::high_half<Element>(values[group][half][i]);
          squares[group] = device::fma(low, low, squares[group]);
          squares[group] = device::fma(high, high, squares[group]);
        }
      }
      if (step % 2 == 1 && next < last_column) {
        load_x(half, next);
        phi.store(half, buffer ^ 1);
        if (half == 0) phi.load(1, next);
      }
    }
    // The next chunk is complete, and nobody reads the present one any more.
    device::block_barrier();
    buffer ^= 1;
  }

  if constexpr (Phi::scaled) phi.store_final_factors();
  float* result = args.partial_sums + (first_token * Spec::k_splits + split) * (Spec::rows + 1);
  constexpr int token_stride = Spec::k_splits * (Spec::rows + 1);
#pragma unroll
  for (int tile = 0; tile < tiles; ++tile) {
    const int row = first_row + tile * 8 + lane_token;
    const float factor = Phi::scaled ? phi.factor(0, tile * 8 + lane_token) : 1.0f;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int token = group * 8 + quad * 2 + e;
        const float sum = sums[tile][group][e] + sums[tile][group][e + 2];
        if (row < Spec::rows && first_token + token < args.tokens)
          result[device::i64{token} * token_stride + row] = Phi::scaled ? sum * factor : sum;
      }
    }
  }
#pragma unroll
  for (int group = 0; group < groups; ++group) {
    float sum = squares[group] + device::shuffle_xor(squares[group], 1);
    sum += device::shuffle_xor(sum, 2);
    const int token = group * 8 + lane_token;
    if (quad == 0 && first_row == 0 && first_token + token < args.tokens)
      result[device::i64{token} * token_stride + Spec::rows] = sum;
  }
}
