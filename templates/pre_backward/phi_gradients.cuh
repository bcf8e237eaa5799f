// A warp's sums G over the tokens of its split become partial sums in the workspace, or dphi and dgamma.
#pragma once

#include <pre_backward/args.cuh>
#include <pre_backward/dx_warp.cuh>
#include <pre_backward/portable_work.cuh>
#include <pre_backward/store_gradient.cuh>
#include <pre_backward/token_record.cuh>

template <class Spec>
struct PhiGradients {
  static constexpr int tiles = Spec::tiles_per_warp;
  static constexpr int row_tiles = (TokenRecord<Spec>::sum_tiles + Spec::row_blocks - 1) / Spec::row_blocks;
  // A tile has 16 columns. A lane has columns 2q and 2q + 1 of rows g and g + 8 of products: rows of phi, columns of x.
  using TileSums = float[row_tiles][4];
  using Sums = TileSums[tiles];

  const PreBackwardArgs& args;
  float* partials;  // the split's
  int first_row;
  PhiPlace warp;  // the place of its first tile, and of all that follow
  bool is_wanted;
  bool adds_later;
  bool has_partials = false;

  MHCJIT_DEVICE PhiGradients(const PreBackwardArgs& args, const PortableBackwardWork& work, int split, int row_block,
                             PhiPlace warp)
      : args(args),
        partials(work.phi_partials + device::i64{split} * Spec::rows * Spec::columns),
        first_row(row_block * row_tiles * 8),
        warp(warp),
        is_wanted(args.dphi != nullptr || args.dgamma != nullptr),
        adds_later(work.adds_splits_up_later != 0) {}

  // Moves the sums to the partial sums, since at each step the tensor cores drop what stands below a sum's last bit.
  MHCJIT_DEVICE void move_to_partials(Sums& sums) {
    if (is_wanted) {
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        add_partials(warp.tile(tile), sums[tile]);
        each(warp.tile(tile), [&](int rows, int e, device::i64 place) { partials[place] = sums[tile][rows][e]; });
      }
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

  // Completes the sums of the whole split.
  MHCJIT_DEVICE void add_partials(Sums& sums) const {
#pragma unroll
    for (int tile = 0; tile < tiles; ++tile) add_partials(warp.tile(tile), sums[tile]);
  }

  // Makes dphi and dgamma from a tile's sums over all tokens.
  MHCJIT_DEVICE void store(const PhiPlace& tile, const TileSums& sums) const {
    if constexpr (Spec::has_gamma) {
      if (args.dgamma != nullptr) store_dgamma(tile, sums);
    }
    if (args.dphi == nullptr) return;
    const int lane = device::thread_index() % device::warp_size;
    each(tile, [&](int rows, int e, device::i64 place) {
      float value = sums[rows][e];
      if constexpr (Spec::has_gamma) value *= args.gamma[column_of(lane, tile, e / 2)];
      store_gradient(args, args.dphi + place, value);
    });
  }

 private:
  static MHCJIT_DEVICE int column_of(device::u32 lane, const PhiPlace& tile, int half) {
    return tile.first_column + half * 8 + static_cast<int>(lane / 4);
  }

  // All loads of a tile are under way at the same time.
  MHCJIT_DEVICE void add_partials(const PhiPlace& tile, TileSums& sums) const {
    if (has_partials) each(tile, [&](int rows, int e, device::i64 place) { sums[rows][e] += partials[place]; });
  }

  // Visits the lane's sums of a tile that exist, with their places in phi.
  template <class Visit>
  MHCJIT_DEVICE void each(const PhiPlace& tile, Visit&& visit) const {
    // Addresses are computed anew each time: those of all sums would fill the registers of the loop over tiles. They
    // are unsigned: then no column is known to lie before the tile's first.
    const device::u32 lane = device::opaque(device::thread_index() % device::warp_size);
    const int row = first_row + static_cast<int>(lane % 4 * 2);
#pragma unroll
    for (int rows = 0; rows < row_tiles; ++rows) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int phi_row = rows * 8 + row + e % 2;
        const int column = column_of(lane, tile, e / 2);
        if (phi_row < Spec::rows && tile.columns.contains(column - tile.first_column))
          visit(rows, e, device::i64{phi_row} * Spec::columns + column);
      }
    }
  }

  // Four lanes have the rows of a column.
  MHCJIT_DEVICE void store_dgamma(const PhiPlace& tile, const TileSums& sums) const {
    const int lane = device::thread_index() % device::warp_size;
    float dgamma[2] = {};
    each(tile, [&](int rows, int e, device::i64 place) {
      dgamma[e / 2] = device::fma(args.phi[place], sums[rows][e], dgamma[e / 2]);
    });
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = dgamma[half] + device::shuffle_xor(dgamma[half], 1);
      sum += device::shuffle_xor(sum, 2);
      const int column = column_of(lane, tile, half);
      if (lane % 4 == 0 && tile.columns.contains(column - tile.first_column))
        store_gradient(args, args.dgamma + column, sum);
    }
  }
};
