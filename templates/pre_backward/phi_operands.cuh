// (phi * gamma)^T of a warp's columns as A operands of the tensor cores, for a whole launch. They are in registers, or
// in shared memory if the sums need the registers.
//
// dx of 16 bits takes one term of fp16. One power of two for the warp brings its largest value near the top of fp16's
// range. That value is taken over all columns which the warp may have, whatever its shift: so a row of dx has the same
// bits wherever it stands. dx in fp32 takes two terms of bf16.
#pragma once

#include <pre_backward/args.cuh>
#include <pre_backward/dx_warp.cuh>
#include <pre_backward/token_record.cuh>

template <class Spec>
struct PhiOperands {
  using Record = TokenRecord<Spec>;
  using Words = device::Vector<device::u32, 4>;
  static constexpr int tiles = Spec::tiles_per_warp;
  static constexpr int steps = Record::dx_steps;
  static constexpr int terms = Record::is_scaled ? 1 : 2;
  static constexpr int operands = tiles * steps * terms;
  static constexpr int operand_bytes = device::warp_size * 16;
  static constexpr int shared_bytes = Spec::phi_in_registers ? 0 : operands * operand_bytes;  // a warp's

  // Fewer operands are packed at once, and fewer steps multiplied at once, if registers are rare.
  static constexpr int unrolled = Spec::phi_in_registers ? tiles * steps : 2;
  static constexpr int unrolled_steps = Spec::phi_in_registers || steps <= 3 ? steps : 2;

  Words in_registers[Spec::phi_in_registers ? operands : 1];
  device::SharedAddress in_shared;  // the lane's
  float inverse_scale = 1.0f;

  // `shared` is the warp's part of shared memory.
  MHCJIT_DEVICE PhiOperands(const PreBackwardArgs& args, const DxWarp<Spec>& warp, device::SharedAddress shared)
      : in_shared(shared + device::thread_index() % device::warp_size * 16) {
    const int lane = device::thread_index() % device::warp_size;
    const int row = lane % 4 * 2;
    const int column = lane / 4;
    // Returns element e of word w of the operand of a tile and a step of sixteen rows.
    const auto value = [&](int tile, int step, int w, int e) {
      const int phi_row = step * 16 + w / 2 * 8 + row + e;
      const int tile_column = tile * 16 + w % 2 * 8 + column;
      return phi_gamma(args, warp, phi_row, tile_column);
    };
    // Values of operands that stay in registers are read once.
    constexpr int kept = Spec::phi_in_registers ? tiles * steps * 8 : 1;
    float values[kept];
    if constexpr (Spec::phi_in_registers) {
#pragma unroll
      for (int i = 0; i < kept; ++i) values[i] = value(i / 8 / steps, i / 8 % steps, i / 2 % 4, i % 2);
    }
    const auto value_of = [&](int i) {
      if constexpr (Spec::phi_in_registers) return values[i];
      return value(i / 8 / steps, i / 8 % steps, i / 2 % 4, i % 2);
    };

    float scale = 1.0f;
    if constexpr (Record::is_scaled) {
      float largest = largest_beside(args, warp);
#pragma unroll unrolled
      for (int i = 0; i < tiles * steps; ++i) {
#pragma unroll
        for (int e = 0; e < 8; ++e) largest = larger_magnitude(largest, value_of(i * 8 + e));
      }
      scale = power_of_two_scale(warp_largest(largest), inverse_scale);
    }
#pragma unroll unrolled
    for (int i = 0; i < tiles * steps; ++i) {
      Words words[terms];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float first = value_of(i * 8 + w * 2);
        const float second = value_of(i * 8 + w * 2 + 1);
        if constexpr (Record::is_scaled) {
          words[0][w] = device::pack<device::fp16>(first * scale, second * scale);
        } else {
          const TwoTerms both = two_terms<device::bf16>(first, second);
          words[0][w] = both.high;
          words[1][w] = both.low;
        }
      }
#pragma unroll
      for (int term = 0; term < terms; ++term) {
        if constexpr (Spec::phi_in_registers)
          in_registers[i * terms + term] = words[term];
        else
          device::store_shared_words(in_shared + (i * terms + term) * operand_bytes, words[term]);
      }
    }
  }

  // No barrier is needed: a lane reads only what it has written itself.
  MHCJIT_DEVICE Words operand(int tile, int step, int term) const {
    const int number = (tile * steps + step) * terms + term;
    if constexpr (Spec::phi_in_registers) return in_registers[number];
    return device::load_shared_words<4>(in_shared + number * operand_bytes);
  }

 private:
  static MHCJIT_DEVICE float phi_gamma(const PreBackwardArgs& args, const DxWarp<Spec>& warp, int row, int column) {
    if (!((row < Spec::rows) & warp.columns.contains(column))) return 0.0f;
    const float phi = args.phi[device::i64{row} * Spec::columns + warp.first_column() + column];
    if constexpr (Spec::has_gamma) return phi * args.gamma[warp.first_column() + column];
    return phi;
  }

  // Returns a lane's largest value of the columns that the warp has with other shifts.
  static MHCJIT_DEVICE float largest_beside(const PreBackwardArgs& args, const DxWarp<Spec>& warp) {
    float largest = 0.0f;
    if constexpr (!XTile<Spec>::is_aligned) {
      constexpr int beside = DxWarp<Spec>::most_shift;
#pragma unroll 2
      for (int i = device::thread_index() % device::warp_size; i < Spec::rows * beside; i += device::warp_size) {
        const int before = i % beside - (beside - warp.shift);
        const int column = before < 0 ? before : before + XTile<Spec>::columns;
        largest = larger_magnitude(largest, phi_gamma(args, warp, i / beside, column));
      }
    }
    return largest;
  }
};
