// phi * gamma as operands of the tensor cores, resident for a whole launch.
//
// A row of phi is split into two terms of x's 16-bit type, or of bf16 where x is fp32, high + low, so that products
// with x keep fp32's accuracy. Eight rows make a block; the blocks of the high terms and then those of the low terms
// are stacked, and two consecutive blocks are one 16 x 16 A operand. There are as many operands as blocks of eight
// rows. Rows that become fp16, whose range is narrow, are first scaled by a power of two.
//
// A warp owns k_steps_per_warp steps of 16 columns, for the rows of its row group. Counted tile by tile, its first
// phi_register_operands operands stay in registers, the others in shared memory, where every step has as many.
#pragma once

#include <common/two_terms.cuh>
#include <device/async.cuh>

template <class Spec>
struct PhiFragments {
  using Operand = typename OperandOf<typename Spec::Element>::Type;
  using Words = device::Vector<device::u32, 4>;

  static constexpr int all_row_blocks = (Spec::rows + 7) / 8;
  static constexpr int row_blocks = all_row_blocks / Spec::row_groups;  // of a warp
  static_assert(all_row_blocks % Spec::row_groups == 0);
  static constexpr int tiles = row_blocks;  // A operands of a step: two terms for every two blocks
  static constexpr int steps = Spec::k_steps_per_warp;
  static constexpr int register_operands = Spec::phi_register_operands;
  static constexpr int operand_bytes = device::warp_size * 16;
  static constexpr int shared_bytes_per_warp = (tiles * steps - register_operands) * operand_bytes;
  static constexpr bool scaled = Spec::scales_phi;

  Words in_registers[register_operands == 0 ? 1 : register_operands];
  float inverse_scale[scaled ? row_blocks : 1];
  device::SharedAddress in_shared;  // of this lane and the warp's first operand there

  static MHCJIT_DEVICE bool has_high_terms(int tile) { return 2 * tile < row_blocks; }

  MHCJIT_DEVICE Words operand(int step, int tile) const {
    const int number = tile * steps + step;
    if (number < register_operands) return in_registers[number];
    return device::load_shared_words<4>(in_shared + (number - register_operands) * operand_bytes);
  }

  // Takes what stands in columns 2q, 2q + 1 (k_half 0) or 2q + 8, 2q + 9 (k_half 1) of a step's operands, of this
  // lane's row of `block`.
  MHCJIT_DEVICE void set(int step, int block, int k_half, float first, float second) {
    const auto terms = two_terms<Operand>(first, second);
    set_word(step, block, k_half, terms.high);
    set_word(step, row_blocks + block, k_half, terms.low);
  }

 private:
  MHCJIT_DEVICE void set_word(int step, int stacked_block, int k_half, device::u32 word) {
    const int number = stacked_block / 2 * steps + step;
    const int index = stacked_block % 2 + 2 * k_half;
    if (number < register_operands)
      in_registers[number][index] = word;
    else
      device::store_shared(in_shared + (number - register_operands) * operand_bytes + index * 4, word);
  }
};
