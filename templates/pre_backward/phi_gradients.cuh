// What becomes of a warp's sums G over the tokens of its split: partial sums in the workspace, or dphi and dgamma.
#pragma once

#include <pre_backward/args.cuh>
#include <pre_backward/column_range.cuh>
#include <pre_backward/portable_work.cuh>
#include <pre_backward/store_gradient.cuh>
#include <pre_backward/token_record.cuh>

template <class Spec>
struct PhiGradients {
  static constexpr int tiles = Spec::tiles_per_warp;
  static constexpr int row_tiles = (TokenRecord<Spec>::sum_tiles + Spec::row_blocks - 1) / Spec::row_blocks;
  // Columns 2q and 2q + 1 of rows g and g + 8 of products: rows of phi and columns of x.
  using Sums = float[tiles][row_tiles][4];

  const PreBackwardArgs& args;
  float* partials;  // of the split
  int first_row;
  int first_column;
  ColumnRange columns;  // that exist, counted from there
  bool is_wanted;
  bool adds_later;
  bool has_partials = false;

  MHCJIT_DEVICE PhiGradients(const PreBackwardArgs& args, const PortableBackwardWork& work, int split, int row_block,
                             int first_column, const ColumnRange& columns)
      : args(args),
        partials(work.phi_partials + device::i64{split} * Spec::rows * Spec::columns),
        first_row(row_block * row_tiles * 8),
        first_column(first_column),
        columns(columns),
        is_wanted(args.dphi != nullptr || args.dgamma != nullptr),
        adds_later(work.adds_splits_up_later != 0) {}

  // Moves the sums to the partial sums: at each step the tensor cores drop what stands below a sum's last bit.
  MHCJIT_DEVICE void move_to_partials(Sums& sums) {
    if (is_wanted) {
      each([&](int tile, int rows, int e, device::i64 place) {
        partials[place] = has_partials ? partials[place] + sums[tile][rows][e] : sums[tile][rows][e];
      });
    }
    has_partials = true;
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int rows = 0; rows < row_tiles; ++rows) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[tile][rows][e] = 0.0f;
      }
    }
  }

  MHCJIT_DEVICE void finish(Sums& sums) {
    if (!is_wanted) return;
    if (adds_later) {
      move_to_partials(sums);
      return;
    }
    if (has_partials) {
      each([&](int tile, int rows, int e, device::i64 place) { sums[tile][rows][e] += partials[place]; });
    }
    if constexpr (Spec::has_gamma) {
      if (args.dgamma != nullptr) store_dgamma(sums);
    }
    if (args.dphi == nullptr) return;
    const int lane = device::thread_index() % device::warp_size;
    each([&](int tile, int rows, int e, device::i64 place) {
      float value = sums[tile][rows][e];
      if constexpr (Spec::has_gamma) value *= args.gamma[column_of(lane, tile, e / 2)];
      store_gradient(args, args.dphi + place, value);
    });
  }

 private:
  MHCJIT_DEVICE int column_of(int lane, int tile, int half) const {
    return first_column + tile * 16 + half * 8 + lane / 4;
  }

  // Visits the lane's sums that exist, with their places in phi.
  template <class Visit>
  MHCJIT_DEVICE void each(Visit&& visit) const {
    // Computed anew each time: addresses of all sums would fill the registers of the loop over tiles.
    const int lane = static_cast<int>(device::opaque(device::thread_index() % device::warp_size));
    const int row = first_row + lane % 4 * 2;
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int rows = 0; rows < row_tiles; ++rows) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int phi_row = rows * 8 + row + e % 2;
          const int column = column_of(lane, tile, e / 2);
          if (phi_row < Spec::rows && columns.contains(column - first_column))
            visit(tile, rows, e, device::i64{phi_row} * Spec::columns + column);
        }
      }
    }
  }

  // Four lanes have the rows of a column.
  MHCJIT_DEVICE void store_dgamma(const Sums& sums) const {
    const int lane = device::thread_index() % device::warp_size;
    float dgamma[tiles][2] = {};
    each([&](int tile, int rows, int e, device::i64 place) {
      dgamma[tile][e / 2] = device::fma(args.phi[place], sums[tile][rows][e], dgamma[tile][e / 2]);
    });
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float sum = dgamma[tile][half] + device::shuffle_xor(dgamma[tile][half], 1);
        sum += device::shuffle_xor(sum, 2);
        const int column = column_of(lane, tile, half);
        if (lane % 4 == 0 && columns.contains(column - first_column)) store_gradient(args, args.dgamma + column, sum);
      }
    }
  }
};
