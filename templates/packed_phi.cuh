// phi * gamma in two terms as A operands of the tensor cores, as pre_forward_pack_phi leaves it in the workspace.
//
// Eight rows make a tile: the high terms of its rows and below them the low terms are one 16 x 16 operand. A chunk is
// four steps of 16 columns. In which order a step has its columns is free as long as x agrees: as k = 2q, 2q + 1, 2q +
// 8, 2q + 9 it has columns 4q to 4q + 3 (q 0 to 3), so that a lane's part of an operand is made of four columns of a
// row, and what it needs of x lies in consecutive bytes too.
//
// Layout: [chunk][tile][step][lane] of four words each, lane 4 r + q for row r of the tile. Rows and columns that phi
// does not have are zeros.
#pragma once

#include <device_matrix.cuh>
#include <pre_args.cuh>
#include <two_terms.cuh>

template <class Spec>
struct PackedPhi {
  using Operand = typename OperandOf<typename Spec::Element>::Type;
  using Words = device::Vector<device::u32, 4>;

  static constexpr int chunk_columns = 64;
  static constexpr int steps = chunk_columns / 16;
  static constexpr int tiles = Spec::row_tiles * Spec::row_blocks;
  static constexpr int tile_parts = steps * device::warp_size;  // of 16 bytes, in a chunk
  static constexpr int tile_bytes = tile_parts * 16;

  static MHCJIT_DEVICE device::i64 first_word(int chunk, int tile) {
    return (device::i64{chunk} * tiles + tile) * tile_parts * 4;
  }
};
