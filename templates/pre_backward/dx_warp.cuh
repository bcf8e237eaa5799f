// The rows of phi, the stream and the columns that a warp of pre_backward/dx.cuh works on.
#pragma once

#include <pre_backward/args.cuh>
#include <pre_backward/column_range.cuh>
#include <pre_backward/x_tile.cuh>

// The place in phi of a tile of 16 columns, with those that exist. A warp's place is that of its first tile.
struct PhiPlace {
  int first_column;
  ColumnRange columns;

  MHCJIT_DEVICE PhiPlace tile(int number) const {
    return {first_column + number * 16, columns.counted_from(number * 16)};
  }
};

template <class Spec>
struct DxWarp {
  using X = XTile<Spec>;
  static constexpr int block_columns = Spec::warps_per_stream * X::columns;  // each stream's
  static constexpr int most_shift = X::is_aligned ? 0 : X::sector_elements - 1;
  static constexpr int column_blocks = (Spec::d + most_shift + block_columns - 1) / block_columns;
  static constexpr int stream_blocks = (Spec::n + Spec::streams_per_block - 1) / Spec::streams_per_block;
  static constexpr int blocks = Spec::row_blocks * column_blocks * stream_blocks;

  int phase;
  int row_block;
  int stream_of_block;
  int part;     // part of the block's columns
  int block_d;  // the block's first column
  int d;        // the warp's first column
  int shift;    // columns by which d lies before where aligned rows would have it
  int stream;
  ColumnRange columns;  // none exists if the block has more warps than streams are left

  MHCJIT_DEVICE DxWarp(const PreBackwardArgs& args, int number, int phase, int warp)
      : phase(phase), row_block(number % Spec::row_blocks) {
    const int block = number / Spec::row_blocks;
    stream_of_block = warp / Spec::warps_per_stream;
    part = warp % Spec::warps_per_stream;
    const int wanted = block / column_blocks * Spec::streams_per_block + stream_of_block;
    stream = wanted < Spec::n ? wanted : Spec::n - 1;
    block_d = block % column_blocks * block_columns;
    shift = X::is_aligned
                ? 0
                : X::behind_multiple(X::sector_elements, args.x, (device::i64{phase} * Spec::n + stream) * Spec::d);
    d = block_d + part * X::columns - shift;
    columns = {X::is_aligned || d >= 0 ? 0 : -d, wanted < Spec::n ? Spec::d - d : 0};
  }
  MHCJIT_DEVICE int first_column() const { return stream * Spec::d + d; }
  MHCJIT_DEVICE PhiPlace place() const { return {first_column(), columns}; }
};
