// pre_backward, the gradient of phi over ranges of tokens:
//
//     phi_partials[s, j, k] = sum over the tokens t of split s of dh_mix[t, j] * x[t, k]
//
// Grid:   x = blocks of columns, y = token_splits * row_blocks.
// Block:  row_warps warps across the rows, the rest across the columns; a thread keeps rows_per_thread rows of
//         vec_size columns in registers for all of its tokens.
// Shared: none.
#pragma once

#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/portable_work.cuh>

template <class Spec>
struct PreBackwardPhiPartials {
  static constexpr int column_warps = Spec::threads_per_block / device::warp_size / Spec::row_warps;
  static constexpr int columns_per_block = column_warps * device::warp_size * Spec::vec_size;
};

template <class Spec>
MHCJIT_DEVICE void pre_backward_phi_partials(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardPhiPartials<Spec>;
  using Element = typename Spec::Element;
  constexpr int vec_size = Spec::vec_size;
  constexpr int rows_per_thread = Spec::rows_per_thread;
  constexpr int tokens_in_flight = 4;

  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  const device::i64 column = device::block_index_x() * Plan::columns_per_block +
                             (warp / Spec::row_warps * device::warp_size + lane) * vec_size;
  if (column >= Spec::columns) return;
  const int row_block = device::block_index_y() % Spec::row_blocks;
  const int split = device::block_index_y() / Spec::row_blocks;
  const int first_row = (row_block * Spec::row_warps + warp % Spec::row_warps) * rows_per_thread;
  const device::i64 first_token = split * work.tokens_per_split;
  const device::i64 last_token =
      first_token + work.tokens_per_split < args.tokens ? first_token + work.tokens_per_split : args.tokens;
  const Element* x = static_cast<const Element*>(args.x) + column;
  const float* dh_mix = work.dh_mix + first_row;

  float sums[rows_per_thread][vec_size] = {};
#pragma unroll 1
  for (device::i64 tile = first_token; tile < last_token; tile += tokens_in_flight) {
    device::Vector<Element, vec_size> values[tokens_in_flight];
#pragma unroll
    for (int i = 0; i < tokens_in_flight; ++i) {
      values[i] = {};
      if (tile + i < last_token) values[i] = device::load<vec_size>(x + (tile + i) * Spec::columns);
    }
#pragma unroll
    for (int i = 0; i < tokens_in_flight; ++i) {
      // A token past the end has x = 0; its dh_mix is read from the last token, since 0 times what lies beyond the
      // workspace need not be 0.
      const device::i64 token = tile + i < last_token ? tile + i : last_token - 1;
#pragma unroll
      for (int row = 0; row < rows_per_thread; row += 4) {
        const auto gradient = device::load<4>(dh_mix + token * Spec::padded_rows + row);
#pragma unroll
        for (int next = 0; next < 4; ++next) {
#pragma unroll
          for (int e = 0; e < vec_size; ++e) {
            float& sum = sums[row + next][e];
            sum = device::fma(gradient[next], device::to_float(values[i][e]), sum);
          }
        }
      }
    }
  }

  constexpr int part_size = vec_size < 4 ? vec_size : 4;
#pragma unroll
  for (int row = 0; row < rows_per_thread; ++row) {
    if (first_row + row >= Spec::rows) break;
    float* destination =
        work.phi_partials + (device::i64{split} * Spec::rows + first_row + row) * Spec::columns + column;
#pragma unroll
    for (int first = 0; first < vec_size; first += part_size) {
      device::Vector<float, part_size> part;
#pragma unroll
      for (int e = 0; e < part_size; ++e) part[e] = sums[row][first + e];
      device::store(destination + first, part);
    }
  }
}
