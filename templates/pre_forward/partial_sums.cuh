// A block of the projection leaves its partial sums, over its range of columns and for its rows of phi, in the
// workspace, for the next kernel. If the blocks that share a tile of tokens form a cluster, a block keeps them in its
// shared memory, for all of them.
//
// The blocks of a cluster stand side by side in x: those of a split's blocks of rows, split after split. Otherwise the
// splits, of which there may be very many, are the grid's y.
#pragma once

#include <device/async.cuh>
#include <pre_forward/packed_phi.cuh>
#include <pre_forward/two_pass_work.cuh>

template <class Spec>
struct PartialSums {
  static constexpr bool in_cluster = Spec::in_cluster;
  static constexpr int block_rows = Spec::row_tiles * 8;
  static constexpr int tokens = Spec::threads_per_block / device::warp_size * Spec::tokens_per_warp;  // of a tile
  static constexpr int token_floats = in_cluster ? block_rows + 1 : Spec::k_splits * (Spec::rows + 1);
  static constexpr int shared_floats = in_cluster ? tokens * token_floats : 0;

  // Blocks of a cluster, and ranges of columns in it. How many they are is up to the launch: more where there are few
  // tokens.
  static constexpr int fewest_blocks = Spec::k_splits * Spec::row_blocks;
  static MHCJIT_DEVICE int blocks() { return device::cluster_blocks(); }
  static MHCJIT_DEVICE int splits() { return blocks() / Spec::row_blocks; }

  // The block's tile of tokens, range of columns and block of rows of phi.
  static MHCJIT_DEVICE device::i64 first_token() {
    return device::i64{block_index() / (in_cluster ? blocks() : Spec::row_blocks)} * tokens;
  }
  static MHCJIT_DEVICE int split() {
    return in_cluster ? block_index() % blocks() / Spec::row_blocks : device::block_index_y();
  }
  static MHCJIT_DEVICE int row_block() { return block_index() % Spec::row_blocks; }

  // The range of its columns: whole sums, or where the tensor cores sum up all of it, whole chunks.
  static MHCJIT_DEVICE int split_chunks(int all_chunks, int chunks_per_sum) {
    if constexpr (!in_cluster) return Spec::columns_per_split / PackedPhi<Spec>::chunk_columns;
    const int sums = (all_chunks + chunks_per_sum - 1) / chunks_per_sum;
    return (sums + splits() - 1) / splits() * chunks_per_sum;
  }

  float* sums;     // of the tile's first token, of the block's first row
  float* squares;  // of the tile's first token
  int rows;        // of the block, that phi has

  // In a cluster all threads of the block have come to a barrier: the sums take the place of what they multiplied.
  MHCJIT_DEVICE explicit PartialSums(const TwoPassWork& work)
      : sums(device::shared_floats()), squares(sums + block_rows), rows(Spec::rows - row_block() * block_rows) {
    if constexpr (!in_cluster) {
      float* const first = work.partial_sums + first_token() * token_floats + split() * (Spec::rows + 1);
      sums = first + row_block() * block_rows;
      squares = first + Spec::rows;
    }
  }

  MHCJIT_DEVICE void set(int token, int row, float value) const {
    if (row < rows) sums[token * token_floats + row] = value;
  }
  MHCJIT_DEVICE void set_square(int token, float value) const {
    if (row_block() == 0) squares[token * token_floats] = value;
  }

  // The partial sum of a block of the cluster: of a row of phi or, row M, of the squares.
  static MHCJIT_DEVICE float in_block_of(int which_split, int token, int row) {
    const bool is_square = row == Spec::rows;
    const int block = is_square ? 0 : row / block_rows;
    const int place = is_square ? block_rows : row % block_rows;
    const device::SharedAddress address =
        device::shared_base() + static_cast<device::SharedAddress>(token * token_floats + place) * 4;
    return device::load_cluster(device::in_block(address, which_split * Spec::row_blocks + block));
  }

 private:
  // Fewer than 2^31, and 32 bits are short to divide.
  static MHCJIT_DEVICE int block_index() { return static_cast<int>(device::block_index_x()); }
};
