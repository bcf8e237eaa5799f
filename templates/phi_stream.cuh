// phi * gamma as operands of the tensor cores, made by a block for itself, chunk after chunk of columns.
//
// Eight rows make a tile: the high terms of its rows and below them the low terms are one 16 x 16 A operand. A chunk is
// four steps of 16 columns. Which columns a step has is free as long as x agrees: step s of half p of a chunk has, as
// k = 2q, 2q + 1, 2q + 8, 2q + 9, columns 32 p + 8 q + 4 s to 32 p + 8 q + 4 s + 3 (s 0 or 1, q 0 to 3), so that a lane
// loads 16 bytes of phi, stores 16 bytes of an operand, and finds what it needs of x in 16 bytes too.
//
// A thread makes one part, four columns of a row, of each of `items` rows, in two batches so that few registers are
// under way. The lanes' order keeps loads coalesced and stores free of bank conflicts.
//
// fp16: a row is scaled by a power of two that suits all of it up to the present chunk. Where a chunk makes it smaller,
// the sums so far are multiplied by the factor between the two.
//
// Shared: two chunks, one that is multiplied and one that is made; each its operands in the order of lanes, and of fp16
// a factor for each row.
#pragma once

#include <device_matrix.cuh>
#include <pre_args.cuh>
#include <two_terms.cuh>

template <class Spec>
struct PhiStream {
  using Element = typename Spec::Element;
  using Words = device::Vector<device::u32, 4>;
  using Part = device::Vector<float, 4>;

  static constexpr bool scaled = Spec::scales_phi;
  static constexpr int chunk_columns = 64;
  static constexpr int steps = chunk_columns / 16;
  static constexpr int tiles = Spec::row_tiles;
  static constexpr int rows = tiles * 8;
  static constexpr int rows_per_item = Spec::threads_per_block / device::warp_size * 2;
  static constexpr int items = (rows + rows_per_item - 1) / rows_per_item;
  static constexpr int batch_items = (items + 1) / 2;
  static constexpr int operand_words = device::warp_size * 4;
  static constexpr int operands_words = steps * tiles * operand_words;
  static constexpr int chunk_words = operands_words + (scaled ? rows : 0);
  static constexpr int shared_floats = 2 * chunk_words;
  static_assert(rows_per_item % 8 == 0);

  const float* phi;    // the part of the first item, in chunk 0
  const float* gamma;  // likewise
  float* shared;
  int row;       // of the first item, in the block
  int phi_rows;  // that are left of phi where the block begins
  int column;    // of the parts, in a chunk
  int lane;
  Part values[batch_items];
  Part scales;  // gamma
  float row_scale[scaled ? items : 1];

  MHCJIT_DEVICE PhiStream(const PreForwardArgs& args, int first_row, float* shared)
      : shared(shared), phi_rows(Spec::rows - first_row) {
    const int thread = device::thread_index();
    lane = thread % device::warp_size;
    row = thread / device::warp_size * 2 + lane / 4 % 2;
    column = lane / 16 * 32 + lane % 4 * 8 + lane / 8 % 2 * 4;
    phi = args.phi + device::i64{first_row + row} * Spec::columns + column;
    gamma = args.gamma + column;
#pragma unroll
    for (int i = 0; i < batch_items; ++i) values[i] = {};
    if constexpr (scaled) {
#pragma unroll
      for (int item = 0; item < items; ++item) row_scale[item] = 0x1p126f;
    }
  }

  // The parts of a batch, 0 or 1, in the chunk that begins at column `chunk`. Rows that phi does not have keep what was
  // loaded before: nobody looks at their sums.
  MHCJIT_DEVICE void load(int batch, int chunk) {
    if (Spec::has_gamma && batch == 0) scales = part(gamma + chunk, chunk);
#pragma unroll
    for (int i = 0; i < batch_items; ++i) {
      const int item = batch * batch_items + i;
      if (item < items && is_in_phi(item))
        values[i] = part(phi + device::i64{item} * rows_per_item * Spec::columns + chunk, chunk);
    }
  }

  // What was loaded becomes rows of the operands in a buffer, 0 or 1.
  MHCJIT_DEVICE void store(int batch, int buffer) {
#pragma unroll
    for (int i = 0; i < batch_items; ++i) {
      const int item = batch * batch_items + i;
      if (item < items && is_in_block(item)) store_item(item, buffer, values[i]);
    }
  }

  MHCJIT_DEVICE Words operand(int buffer, int step, int tile) const {
    return device::load<4>(operands(buffer) + (step * tiles + tile) * operand_words + lane * 4);
  }

  // fp16: by what a row's sums are multiplied before a chunk's products are added.
  MHCJIT_DEVICE float factor(int buffer, int block_row) const { return factors(buffer)[block_row]; }
  // By what they are multiplied at the end. Every thread of the block takes part; it ends with a barrier.
  MHCJIT_DEVICE void store_final_factors() {
#pragma unroll
    for (int item = 0; item < items; ++item)
      if (column == 0 && is_in_block(item))
        factors(0)[row + item * rows_per_item] = inverse_power_of_two(row_scale[item]);
    device::block_barrier();
  }

 private:
  // Whether the block has this thread's row of an item, and whether phi has it. Known without a look where all have.
  MHCJIT_DEVICE bool is_in_block(int item) const {
    return (item + 1) * rows_per_item <= rows || row + item * rows_per_item < rows;
  }
  MHCJIT_DEVICE bool is_in_phi(int item) const {
    return is_in_block(item) && (Spec::rows == rows * Spec::row_blocks || row + item * rows_per_item < phi_rows);
  }

  MHCJIT_DEVICE void store_item(int item, int buffer, Part products) {
    if constexpr (Spec::has_gamma) {
#pragma unroll
      for (int e = 0; e < 4; ++e) products[e] *= scales[e];
    }
    if constexpr (scaled) {
      const float scale = scale_row(item, buffer, products);
#pragma unroll
      for (int e = 0; e < 4; ++e) products[e] *= scale;
    }
    const TwoTerms first = two_terms<Element>(products[0], products[1]);
    const TwoTerms second = two_terms<Element>(products[2], products[3]);
    const int step = column / 32 * 2 + column / 4 % 2;
    const int tile = row / 8 + item * (rows_per_item / 8);
    device::store(operands(buffer) + (step * tiles + tile) * operand_words + (row % 8 * 4 + column / 8 % 4) * 4,
                  Words{first.high, first.low, second.high, second.low});
  }

  MHCJIT_DEVICE device::u32* operands(int buffer) const {
    return reinterpret_cast<device::u32*>(shared + buffer * chunk_words);
  }
  MHCJIT_DEVICE float* factors(int buffer) const { return shared + buffer * chunk_words + operands_words; }

  // Four columns; zero beyond the last.
  MHCJIT_DEVICE Part part(const float* address, int chunk) const {
    constexpr int size = Spec::vec_size < 4 ? Spec::vec_size : 4;
    Part four = {};
#pragma unroll
    for (int first = 0; first < 4; first += size) {
      if (Spec::columns % chunk_columns != 0 && chunk + column + first >= Spec::columns) continue;
      const auto loaded = device::load<size>(address + first);
#pragma unroll
      for (int e = 0; e < size; ++e) four[first + e] = loaded[e];
    }
    return four;
  }

  // The 16 lanes that hold a row's parts agree on its scale.
  MHCJIT_DEVICE float scale_row(int item, int buffer, const Part& products) {
    float largest = 0.0f;
#pragma unroll
    for (int e = 0; e < 4; ++e) largest = larger_magnitude(largest, products[e]);
#pragma unroll
    for (const int mask : {1, 2, 8, 16}) largest = larger_magnitude(largest, device::shuffle_xor(largest, mask));
    float inverse;
    const float wanted = power_of_two_scale(largest, inverse);
    const float scale = wanted < row_scale[item] ? wanted : row_scale[item];
    if (column == 0) factors(buffer)[row + item * rows_per_item] = scale * inverse_power_of_two(row_scale[item]);
    row_scale[item] = scale;
    return scale;
  }
};
