// pre_backward, dx:
//
//     dx[t, i, d] = gamma[i, d] * sum_j dh_mix[t, j] * phi[j, (i, d)] + c[t] * x[t, i, d] + h_pre[t, i] * dh_in[t, d]
//
// Grid:   x = blocks of dx_columns_per_block columns, y = blocks that step through the tokens together.
// Block:  dx_columns_per_block / vec_size threads across the columns, the rest across groups of tokens; a thread
//         makes vec_size columns of dx_tokens_per_thread tokens at a time.
// Shared: the block's columns of phi * gamma, all rows, filled once.
#pragma once

#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/dx_element.cuh>
#include <pre_backward/phi_tile.cuh>
#include <pre_backward/portable_work.cuh>

template <class Spec>
struct PreBackwardDx {
  static constexpr int tile_rows = (Spec::rows + 3) / 4 * 4;
  static constexpr int column_threads = Spec::dx_columns_per_block / Spec::vec_size;
  static constexpr int token_groups = Spec::threads_per_block / column_threads;
  using Tile = PhiTile<Spec, tile_rows, Spec::dx_columns_per_block>;
  static constexpr int shared_floats = Tile::floats;
  // Elements of dx in one load or store.
  static constexpr int widest_part = 16 / sizeof(DxElement<Spec>);
  static constexpr int dx_part_size = Spec::vec_size < widest_part ? Spec::vec_size : widest_part;
};

template <class Spec>
MHCJIT_DEVICE void pre_backward_dx(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardDx<Spec>;
  using Tile = typename Plan::Tile;
  using Element = typename Spec::Element;
  constexpr int vec_size = Spec::vec_size;
  constexpr int part_size = Plan::dx_part_size;
  constexpr int tokens_per_thread = Spec::dx_tokens_per_thread;

  // The call's last kernel where no more is wanted.
  device::let_next_kernel_begin();
  float* tile = device::shared_floats();
  const int block_column = static_cast<int>(device::block_index_x()) * Spec::dx_columns_per_block;
  Tile::fill(tile, args.phi, args.gamma, 0, block_column);
  device::block_barrier();

  const int column_thread = device::thread_index() % Plan::column_threads;
  const int column = block_column + column_thread * vec_size;
  if (column >= Spec::columns) return;
  const int stream = column / Spec::d;
  const int d = column % Spec::d;
  const Element* x = static_cast<const Element*>(args.x);
  const Element* dh_in = static_cast<const Element*>(args.dh_in);
  DxElement<Spec>* dx = static_cast<DxElement<Spec>*>(args.dx);

  const device::i64 group =
      device::block_index_y() * Plan::token_groups + device::thread_index() / Plan::column_threads;
  const device::i64 step = device::i64{device::grid_size_y()} * Plan::token_groups * tokens_per_thread;
  for (device::i64 first_token = group * tokens_per_thread; first_token < args.tokens; first_token += step) {
    float sums[tokens_per_thread][vec_size] = {};
#pragma unroll 1
    for (int row = 0; row < Plan::tile_rows; row += 4) {
      device::Vector<float, 4> dh_mix[tokens_per_thread];
#pragma unroll
      for (int i = 0; i < tokens_per_thread; ++i) {
        const device::i64 token = first_token + i < args.tokens ? first_token + i : args.tokens - 1;
        dh_mix[i] = device::load<4>(work.dh_mix + token * Spec::padded_rows + row);
      }
#pragma unroll
      for (int next = 0; next < 4; ++next) {
#pragma unroll
        for (int part = 0; part < Tile::parts; ++part) {
          const typename Tile::Part phi = Tile::read(tile, row + next, column_thread, part);
#pragma unroll
          for (int i = 0; i < tokens_per_thread; ++i) {
#pragma unroll
            for (int e = 0; e < Tile::part_size; ++e) {
              float& sum = sums[i][part * Tile::part_size + e];
              sum = device::fma(dh_mix[i][next], phi[e], sum);
            }
          }
        }
      }
    }

#pragma unroll
    for (int i = 0; i < tokens_per_thread; ++i) {
      const device::i64 token = first_token + i;
      if (token >= args.tokens) break;
      const device::i64 offset = token * Spec::columns + column;
      const float x_coefficient = work.x_coefficient[token];
      const auto values = device::load<vec_size>(x + offset);
#pragma unroll
      for (int e = 0; e < vec_size; ++e)
        sums[i][e] = device::fma(x_coefficient, device::to_float(values[e]), sums[i][e]);
      if (args.dh_in != nullptr) {
        const float h_pre = args.h_pre[token * Spec::n + stream];
        const auto gradient = device::load<vec_size>(dh_in + token * Spec::d + d);
#pragma unroll
        for (int e = 0; e < vec_size; ++e) sums[i][e] = device::fma(h_pre, device::to_float(gradient[e]), sums[i][e]);
      }
#pragma unroll
      for (int first = 0; first < vec_size; first += part_size) {
        if (args.accumulate_dx != 0) {
          const auto previous = device::load<part_size>(dx + offset + first);
#pragma unroll
          for (int e = 0; e < part_size; ++e) sums[i][first + e] += device::to_float(previous[e]);
        }
        device::Vector<DxElement<Spec>, part_size> rounded;
#pragma unroll
        for (int e = 0; e < part_size; ++e) rounded[e] = device::from_float<DxElement<Spec>>(sums[i][first + e]);
        device::store(dx + offset + first, rounded);
      }
    }
  }
}
