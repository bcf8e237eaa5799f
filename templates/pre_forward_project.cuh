// pre_forward, first kernel: the projection and the sum of squares, over one range of columns.
//
//     partial_sums[t, s, j] = sum over the columns k of split s of x[t, k] * phi[j, k] * gamma[k]       j < M
//     partial_sums[t, s, M] = sum over the columns k of split s of x[t, k]^2
//
// Grid:   x = tiles of tokens_per_block tokens, y = k_splits * row_blocks.
// Block:  row_warps * token_warps warps. A warp holds rows_per_thread rows of phi for tokens_per_warp tokens; its
//         lanes share out the columns, so the sums are completed across the warp at the end.
// Shared: one tile of phi * gamma, rows_per_block x 256 floats.
#pragma once

#include <device.cuh>
#include <phi_tile.cuh>
#include <pre_args.cuh>
#include <sums.cuh>

template <class Spec>
struct PreForwardProject {
  static constexpr int lane_columns = 8;
  static constexpr int chunk_columns = device::warp_size * lane_columns;
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int token_warps = warps / Spec::row_warps;
  static constexpr int tokens_per_block = token_warps * Spec::tokens_per_warp;
  static constexpr int rows_per_block = Spec::row_warps * Spec::rows_per_thread;
  using Tile = PhiTile<Spec, rows_per_block, chunk_columns>;
  static constexpr int shared_floats = Tile::floats;
};

template <class Spec>
MHCJIT_DEVICE void pre_forward_project(const PreForwardArgs& args) {
  using Plan = PreForwardProject<Spec>;
  using Tile = typename Plan::Tile;
  using Element = typename Spec::Element;
  constexpr int tokens_per_warp = Spec::tokens_per_warp;
  constexpr int rows_per_thread = Spec::rows_per_thread;
  constexpr int vectors = Plan::lane_columns / Spec::vec_size;

  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  const int row_warp = warp % Spec::row_warps;
  const int row_block = device::block_index_y() % Spec::row_blocks;
  const int split = device::block_index_y() / Spec::row_blocks;
  const int block_row = row_block * Plan::rows_per_block;
  const int first_row = block_row + row_warp * rows_per_thread;
  const bool sums_squares = first_row == 0;
  const device::i64 first_token =
      device::block_index_x() * Plan::tokens_per_block + warp / Spec::row_warps * tokens_per_warp;
  const Element* x = static_cast<const Element*>(args.x);
  float* tile = device::shared_floats();

  float sums[tokens_per_warp * rows_per_thread] = {};
  float squares[tokens_per_warp] = {};

  const int first_column = split * Spec::columns_per_split;
  const int last_column =
      first_column + Spec::columns_per_split < Spec::columns ? first_column + Spec::columns_per_split : Spec::columns;
#pragma unroll 1
  for (int chunk = first_column; chunk < last_column; chunk += Plan::chunk_columns) {
    // Asked for first: x comes from device memory, phi from the L2 cache.
    device::Vector<Element, Spec::vec_size> values[tokens_per_warp][vectors];
#pragma unroll
    for (int token = 0; token < tokens_per_warp; ++token) {
#pragma unroll
      for (int v = 0; v < vectors; ++v) {
        const int column = chunk + (v * device::warp_size + lane) * Spec::vec_size;
        values[token][v] = {};
        if (first_token + token < args.tokens && column < Spec::columns)
          values[token][v] = device::load<Spec::vec_size>(x + (first_token + token) * Spec::columns + column);
      }
    }

    Tile::fill(tile, args.phi, args.gamma, block_row, chunk);
    device::block_barrier();

#pragma unroll
    for (int v = 0; v < vectors; ++v) {
#pragma unroll
      for (int part = 0; part < Tile::parts; ++part) {
        float operand[tokens_per_warp][Tile::part_size];
#pragma unroll
        for (int token = 0; token < tokens_per_warp; ++token) {
#pragma unroll
          for (int e = 0; e < Tile::part_size; ++e)
            operand[token][e] = device::to_float(values[token][v][part * Tile::part_size + e]);
        }
        if (sums_squares) {
#pragma unroll
          for (int token = 0; token < tokens_per_warp; ++token) {
#pragma unroll
            for (int e = 0; e < Tile::part_size; ++e)
              squares[token] = device::fma(operand[token][e], operand[token][e], squares[token]);
          }
        }
#pragma unroll
        for (int row = 0; row < rows_per_thread; ++row) {
          const typename Tile::Part phi =
              Tile::read(tile, row_warp * rows_per_thread + row, v * device::warp_size + lane, part);
#pragma unroll
          for (int token = 0; token < tokens_per_warp; ++token) {
#pragma unroll
            for (int e = 0; e < Tile::part_size; ++e) {
              float& sum = sums[token * rows_per_thread + row];
              sum = device::fma(phi[e], operand[token][e], sum);
            }
          }
        }
      }
    }
    // The next chunk overwrites the tile.
    device::block_barrier();
  }

  const auto destination = [&](int token, int row) {
    return args.partial_sums + ((first_token + token) * Spec::k_splits + split) * (Spec::rows + 1) + row;
  };
  warp_sum_scatter(sums);
  constexpr int lane_sums = tokens_per_warp * rows_per_thread / device::warp_size;
#pragma unroll
  for (int i = 0; i < lane_sums; ++i) {
    const int token = (lane * lane_sums + i) / rows_per_thread;
    const int row = first_row + (lane * lane_sums + i) % rows_per_thread;
    if (first_token + token < args.tokens && row < Spec::rows) *destination(token, row) = sums[i];
  }
  if (sums_squares) {
#pragma unroll
    for (int token = 0; token < tokens_per_warp; ++token) {
      const float sum = warp_sum(squares[token]);
      if (lane == 0 && first_token + token < args.tokens) *destination(token, Spec::rows) = sum;
    }
  }
}
