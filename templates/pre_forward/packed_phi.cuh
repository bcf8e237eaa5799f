// phi * gamma in two terms as operands of the tensor cores, as pre_forward_pack_phi leaves it in the workspace.
//
// Eight rows make a tile. A chunk is 64 columns in four steps of 16; a part, a thread's share of the packing, four
// columns of a row: lane 4 r + q makes columns 4q to 4q + 3 of a step for row r of the tile. Rows and columns that phi
// does not have are zeros.
//
// There are two layouts, for the two kernels that multiply.
//
// As A operands of a warp (pre_forward/project.cuh): the high terms of a tile's rows and below them the low terms are
// one 16 x 16 operand. The order of a step's columns is free as long as x agrees: k = 2q, 2q + 1, 2q + 8, 2q + 9 are
// those of part q. A lane's part of an operand is then made of four columns of a row, and its x lies in consecutive
// bytes too. Chunks follow upon one another through all columns. Layout: [chunk][tile][step][lane] of four words.
//
// As B operands of a warp group (pre_forward/project_wgmma.cuh): rows of phi are columns of B. Each stream has chunks
// of its own, the last of which may reach beyond D.
// Layout: [chunk][block of rows][step][half of its columns][tile][high, low][row] of four words, eight columns.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>

template <class Spec>
struct PackedPhi {
  using Operand = typename OperandOf<typename Spec::Element>::Type;
  using Words = device::Vector<device::u32, 4>;
  using HalfWords = device::Vector<device::u32, 2>;

  static constexpr int chunk_columns = 64;
  static constexpr int steps = chunk_columns / 16;
  static constexpr int tiles = Spec::row_tiles * Spec::row_blocks;
  static constexpr int tile_parts = steps * device::warp_size;  // of 16 bytes, in a chunk
  static constexpr int tile_bytes = tile_parts * 16;
  static constexpr int block_bytes = Spec::row_tiles * tile_bytes;

  // Columns of a stream, if streams have chunks of their own; else of all of them together.
  static constexpr int row_columns = Spec::uses_wgmma ? Spec::d : Spec::columns;
  static constexpr int padded_row_columns = (row_columns + chunk_columns - 1) / chunk_columns * chunk_columns;
  // Columns of all chunks.
  static constexpr int padded_columns = Spec::columns / row_columns * padded_row_columns;

  static MHCJIT_DEVICE device::i64 first_word(int chunk, int tile) {
    return (device::i64{chunk} * tiles + tile) * tile_parts * 4;
  }

  // The column of phi that has this number among those of all chunks; `exists` says whether it and the next three, or
  // how many more, are there.
  static MHCJIT_DEVICE int column_of(int padded_column, int& existing) {
    const int stream = padded_column / padded_row_columns;
    const int column = padded_column % padded_row_columns;
    existing = row_columns - column;
    return stream * row_columns + column;
  }

  // Part `part` of a chunk's tile, as terms of columns 4q, 4q + 1 and 4q + 2, 4q + 3.
  static MHCJIT_DEVICE void store(device::u32* packed, int chunk, int tile, int part, const TwoTerms& first,
                                  const TwoTerms& second) {
    if constexpr (Spec::uses_wgmma) {
      const int step = part / device::warp_size;
      const int row = part / 4 % 8;
      const int quad = part % 4;
      const int tile_of_block = tile % Spec::row_tiles;
      device::u32* to = packed + first_word(chunk, tile - tile_of_block) +
                        ((((step * 2 + quad / 2) * Spec::row_tiles + tile_of_block) * 2) * 8 + row) * 4 + quad % 2 * 2;
      device::store(to, HalfWords{first.high, second.high});
      device::store(to + 8 * 4, HalfWords{first.low, second.low});
    } else {
      device::store(packed + first_word(chunk, tile) + part * 4, Words{first.high, first.low, second.high, second.low});
    }
  }
};
