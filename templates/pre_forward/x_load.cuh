// x as a gemm warp of the one-pass kernel reads it from a panel in shared memory, one load at a time: operands B of the
// load's steps of 16 columns, and the sums of squares.
//
// A group is eight tokens, columns of B; a tile has `groups` of them, one or two, and the warp adds the squares of the
// first `own_groups` that it reads. It may begin with the second group. A panel's row is a token's, `row_bytes` long.
#pragma once

#include <pre_forward/x_part.cuh>

template <class Element, int groups, int own_groups, int row_bytes>
struct XLoad {
  static constexpr int terms = 1;
  static constexpr int steps = 2 / groups;  // that a load brings

  device::Vector<device::u32, 4> words;

  // The token of a group that stands in B's column, and the first of a step's two columns that stand in row
  // 2 pair (k_half 0) or 2 pair + 8 (k_half 1).
  static MHCJIT_DEVICE int token_of(int column) { return column; }
  static MHCJIT_DEVICE int column_of(int pair, int k_half) { return k_half * 8 + pair * 2; }

  // The row that this lane addresses for load_matrices. 16 tokens: a step's two halves of the first eight tokens and
  // then of the others. 8 tokens: the four halves of two steps.
  static MHCJIT_DEVICE int row(int lane, int first_group) {
    return groups == 2 ? (lane / 16 ^ first_group) * 8 + lane % 8 : lane % 8;
  }
  static MHCJIT_DEVICE int chunk(int lane) { return groups == 2 ? lane / 8 % 2 : lane / 8; }

  MHCJIT_DEVICE void read(device::SharedAddress x, int) { words = device::load_matrices(x); }

  MHCJIT_DEVICE device::u32 operand(int step, int group, int, int k_half) const {
    return words[2 * (group + step) + k_half];
  }

  // The squares are the diagonal of x * x^T, the second group's in rows 8 to 15. Each token's also take in the one
  // eight rows away times zero, which is not zero where that is infinite or NaN: none of the tile's sums is to be used
  // then.
  struct SharedSquares {
    static constexpr bool are_shared = own_groups > 1;
    float sums[4] = {};

    MHCJIT_DEVICE void add(const XLoad& x, int step) {
#pragma unroll
      for (int group = 0; group < own_groups; ++group) {
        const device::u32 first = x.operand(step, group, 0, 0);
        const device::u32 second = x.operand(step, group, 0, 1);
        device::multiply_add<Element>(
            sums, {group == 0 ? first : 0, group == 0 ? 0 : first, group == 0 ? second : 0, group == 0 ? 0 : second},
            first, second);
      }
    }
    MHCJIT_DEVICE bool are_finite() const {
      const float sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      return sum - sum == 0.0f;
    }
    MHCJIT_DEVICE float sum(int lane, int group) const {
      return lane / 4 % 2 == 0 ? sums[group * 2] : sums[group * 2 + 1];
    }
  };

  // The same, each group's in sums of its own.
  struct Squares {
    float sums[own_groups][4] = {};

    MHCJIT_DEVICE void add(const XLoad& x, int step) {
#pragma unroll
      for (int group = 0; group < own_groups; ++group) {
        const device::u32 first = x.operand(step, group, 0, 0);
        const device::u32 second = x.operand(step, group, 0, 1);
        device::multiply_add<Element>(sums[group], {first, 0, second, 0}, first, second);
      }
    }
    // True if this lane has the sum of the token in B's column lane / 4. Every lane asks for the sum.
    static MHCJIT_DEVICE bool is_holder(int lane) { return lane % 4 == lane / 8; }
    MHCJIT_DEVICE float sum(int lane, int group) const { return lane / 4 % 2 == 0 ? sums[group][0] : sums[group][1]; }
  };
};

// A lane of fp32 reads four columns of one token, makes two terms of them and adds their squares itself.
template <int groups, int own_groups, int row_bytes>
struct XLoad<float, groups, own_groups, row_bytes> {
  using Part = PartOf<float>;
  static constexpr int terms = Part::terms;
  static constexpr int steps = 1;

  typename Part::Type parts[groups];
  device::u32 operands[groups][terms][2];

  // Eight lanes read two neighbouring columns of B, of rows four apart: the 128-byte swizzle puts these into different
  // halves of the banks, so that there is no bank conflict.
  static MHCJIT_DEVICE int token_of(int column) { return column / 2 + column % 2 * 4; }
  static MHCJIT_DEVICE int column_of(int pair, int k_half) { return pair * 4 + k_half * 2; }

  static MHCJIT_DEVICE int row(int lane, int first_group) { return first_group * 8 + token_of(lane / 4); }
  static MHCJIT_DEVICE int chunk(int lane) { return lane % 4; }

  // The other group stands behind the first, or before it.
  MHCJIT_DEVICE void read(device::SharedAddress x, int first_group) {
    const int distance = (first_group == 0 ? 8 : -8) * row_bytes;
#pragma unroll
    for (int group = 0; group < groups; ++group) {
      parts[group] = Part::load(x + group * distance);
      Part::operands(parts[group], operands[group]);
    }
  }

  MHCJIT_DEVICE device::u32 operand(int, int group, int term, int k_half) const {
    return operands[group][term][k_half];
  }

  struct Squares {
    static constexpr bool are_shared = false;
    float sums[own_groups] = {};

    MHCJIT_DEVICE void add(const XLoad& x, int) {
#pragma unroll
      for (int group = 0; group < own_groups; ++group) sums[group] = Part::add_squares(x.parts[group], sums[group]);
    }
    static MHCJIT_DEVICE bool is_holder(int lane) { return lane % 4 == 0; }
    MHCJIT_DEVICE float sum(int, int group) const {
      const float sum = sums[group] + device::shuffle_xor(sums[group], 1);
      return sum + device::shuffle_xor(sum, 2);
    }
  };
  using SharedSquares = Squares;
};
