// The record of a token, all that dx and G = dh_mix^T x need to know of it, ready for the tensor cores.
//
//     high, low   bf16 [term_rows]: dh_mix = high + low
//     scaled      fp16 [dx_rows]: dh_mix / inverse_scale. Not where dx is fp32, which takes high and low
//     scalars     float: c, inverse_scale, h_pre[n]
//
// Rows beyond M are zeros. Records lie side by side in the workspace and in shared memory. A record is an odd number of
// 16-byte chunks long, so that ldmatrix reads eight consecutive ones without bank conflicts.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>
#include <pre_backward/dx_element.cuh>

template <class Spec>
struct TokenRecord {
  static constexpr bool is_scaled = sizeof(DxElement<Spec>) == 2;
  static constexpr int sum_tiles = (Spec::rows + 7) / 8;   // eight rows each, columns of B operands
  static constexpr int dx_steps = (Spec::rows + 15) / 16;  // sixteen rows each, k of a product
  static constexpr int dx_rows = dx_steps * 16;
  static constexpr int term_rows = is_scaled ? sum_tiles * 8 : dx_rows;

  static constexpr int low = term_rows * 2;  // offsets in bytes
  static constexpr int scaled = 2 * low;
  static constexpr int scalars = scaled + (is_scaled ? dx_rows * 2 : 0);
  static constexpr int h_pre = scalars + 8;
  static constexpr int used_bytes = h_pre + Spec::n * 4;
  static constexpr int bytes =
      (used_bytes + 15) / 16 % 2 == 1 ? (used_bytes + 15) / 16 * 16 : (used_bytes + 31) / 16 * 16;

  static constexpr bool is_aligned = Spec::d * sizeof(typename Spec::Element) % 16 == 0;

  // The records of a phase, token mod phases, stand behind one another. Where rows are aligned there is one phase.
  static MHCJIT_DEVICE device::i64 number_of(device::i64 token, device::i64 tokens, int phases) {
    if (is_aligned || phases == 1) return token;
    const auto of_token = static_cast<device::u32>(token);
    const auto count = static_cast<device::u32>(phases);
    const device::u32 of_phase = (static_cast<device::u32>(tokens) + count - 1) / count;
    return of_token % count * device::i64{of_phase} + of_token / count;
  }
};
