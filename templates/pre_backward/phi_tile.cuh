// A tile of phi * gamma in shared memory, laid out so that a warp reads it without bank conflicts.
//
// A thread owns `vec_size` consecutive columns. It reads them in parts of at most four floats (16 bytes), and part p
// of all threads stands together: column thread * vec_size + p * part_size + e of the tile is float
// p * tile_columns / parts + thread * part_size + e of its row.
#pragma once

#include <device/device.cuh>

template <class Spec, int tile_rows, int tile_columns>
struct PhiTile {
  static constexpr int part_size = Spec::vec_size < 4 ? Spec::vec_size : 4;
  static constexpr int parts = Spec::vec_size / part_size;
  static constexpr int floats = tile_rows * tile_columns;
  using Part = device::Vector<float, part_size>;

  // Columns [first_column, first_column + tile_columns) of rows [first_row, first_row + tile_rows); zero outside phi.
  // Every thread of the block takes part; the caller's barrier makes the tile visible.
  static MHCJIT_DEVICE void fill(float* tile, const float* phi, const float* gamma, int first_row, int first_column) {
    constexpr int row_parts = tile_columns / part_size;
#pragma unroll 4
    for (int i = device::thread_index(); i < tile_rows * row_parts; i += Spec::threads_per_block) {
      const int row = i / row_parts;
      const int tile_column = i % row_parts * part_size;
      const int column = first_column + tile_column;
      Part values = {};
      if (first_row + row < Spec::rows && column < Spec::columns) {
        values = device::load<part_size>(phi + device::i64{first_row + row} * Spec::columns + column);
        if constexpr (Spec::has_gamma) {
          const Part scales = device::load<part_size>(gamma + column);
#pragma unroll
          for (int e = 0; e < part_size; ++e) values[e] *= scales[e];
        }
      }
      const int thread = tile_column / Spec::vec_size;
      const int part = tile_column / part_size % parts;
      device::store(address(tile, row, thread, part), values);
    }
  }

  static MHCJIT_DEVICE Part read(const float* tile, int row, int thread, int part) {
    return device::load<part_size>(address(const_cast<float*>(tile), row, thread, part));
  }

 private:
  static MHCJIT_DEVICE float* address(float* tile, int row, int thread, int part) {
    return tile + row * tile_columns + part * (tile_columns / parts) + thread * part_size;
  }
};
