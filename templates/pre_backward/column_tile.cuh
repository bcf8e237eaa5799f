// 16 columns of 16 tokens of x or dh_in in the lanes of a warp, as the tensor cores take and give them: columns are
// rows of A operands and of sums, tokens are columns of sums. With g = lane / 4 and q = lane % 4 a lane holds columns
// g and g + 8 of tokens 2q, 2q + 1, 2q + 8 and 2q + 9.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>

// x is the sum of `terms` bf16 operands.
template <class Element>
struct ColumnTile;

template <class Element>
struct ColumnTile16 {
  device::Vector<device::u32, 4> words;

  // A lane addresses one row of one of four 8 x 8 matrices.
  static MHCJIT_DEVICE int token_of(int lane) { return lane / 16 * 8 + lane % 8; }
  static MHCJIT_DEVICE int chunk_of(int lane) { return lane / 8 % 2; }  // 16-byte chunk of the tile's row
  static MHCJIT_DEVICE int byte_of(int) { return 0; }                   // byte in the chunk

  MHCJIT_DEVICE void load(device::SharedAddress address) { words = device::load_matrices_transposed(address); }

  // Returns x of tokens 8 half to 8 half + 7, in the layout of multiply_add's sums.
  MHCJIT_DEVICE float value(int half, int e) const {
    const device::u32 pair = words[2 * half + e / 2];
    return e % 2 == 0 ? device::low_half<Element>(pair) : device::high_half<Element>(pair);
  }

  static MHCJIT_DEVICE void store(device::SharedAddress address, const float (&sums)[2][4]) {
    device::Vector<device::u32, 4> rounded;
#pragma unroll
    for (int word = 0; word < 4; ++word)
      rounded[word] = device::pack<Element>(sums[word / 2][word % 2 * 2], sums[word / 2][word % 2 * 2 + 1]);
    device::store_matrices_transposed(address, rounded);
  }
};

template <>
struct ColumnTile<device::bf16> : ColumnTile16<device::bf16> {
  static constexpr int terms = 1;
  MHCJIT_DEVICE void operands(device::Vector<device::u32, 4> (&terms_of)[1]) const { terms_of[0] = words; }
};

// Two bf16 terms hold all bits of fp16, whatever the scale of the other operand.
template <>
struct ColumnTile<device::fp16> : ColumnTile16<device::fp16> {
  static constexpr int terms = 2;
  MHCJIT_DEVICE void operands(device::Vector<device::u32, 4> (&terms_of)[2]) const {
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const TwoTerms pair = two_terms<device::bf16>(device::low_half<device::fp16>(words[word]),
                                                    device::high_half<device::fp16>(words[word]));
      terms_of[0][word] = pair.high;
      terms_of[1][word] = pair.low;
    }
  }
};

// Rows of a panel are 128 bytes. Each lane reads its own elements; the panel's swizzle leaves no bank conflict.
template <>
struct ColumnTile<float> {
  static constexpr int terms = 2;
  float values[2][4];

  static MHCJIT_DEVICE int token_of(int lane) { return lane % 4 * 2; }
  static MHCJIT_DEVICE int chunk_of(int lane) { return lane / 16; }
  static MHCJIT_DEVICE int byte_of(int lane) { return lane / 4 % 4 * 4; }

  // Leads from the lane's first element to its others. An odd token changes the lowest bit of the swizzle.
  static MHCJIT_DEVICE device::SharedAddress place(device::SharedAddress first, int half, int e) {
    return (first ^ static_cast<device::u32>(e % 2 * 16 + e / 2 * 32)) + e % 2 * 128 + half * 1024;
  }

  MHCJIT_DEVICE void load(device::SharedAddress address) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e) values[half][e] = device::load_shared(place(address, half, e));
    }
  }
  MHCJIT_DEVICE float value(int half, int e) const { return values[half][e]; }
  MHCJIT_DEVICE void operands(device::Vector<device::u32, 4> (&terms_of)[2]) const {
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      const TwoTerms pair = two_terms<device::bf16>(values[word / 2][word % 2 * 2], values[word / 2][word % 2 * 2 + 1]);
      terms_of[0][word] = pair.high;
      terms_of[1][word] = pair.low;
    }
  }

  static MHCJIT_DEVICE void store(device::SharedAddress address, const float (&sums)[2][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 4; ++e) device::store_shared(place(address, half, e), sums[half][e]);
    }
  }
};
