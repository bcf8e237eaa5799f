// pre_forward, first kernel: phi * gamma as operands of the tensor cores (pre_forward/packed_phi.cuh), made once for
// all blocks that multiply with them.
//
//     packed_phi: high + low = phi[j, k] * gamma[k] * scale, where the scale is 1
//
// x in fp16: the scale is a power of two for each row and range of columns that are summed together, which brings the
// largest value near the top of fp16's range; phi_factors[range, j] = 1 / scale.
//
// Grid:   x = ranges of pack_columns columns of the chunks, y = tiles of eight rows.
// Block:  a thread makes one part, four columns of a row, of a chunk of 64 columns; half of the threads the next chunk.
//         For the scales, a warp looks at a row.
// Shared: the scales of eight rows.
#pragma once

#include <pre_forward/args.cuh>
#include <pre_forward/packed_phi.cuh>
#include <pre_forward/two_pass_work.cuh>

template <class Spec>
struct PreForwardPackPhi {
  static constexpr int rows = 8;  // of a tile
  static constexpr int shared_floats = Spec::scales_phi ? rows : 0;
  static_assert(Spec::threads_per_block == rows * device::warp_size);
  static_assert(Spec::pack_columns % PackedPhi<Spec>::chunk_columns == 0);
};

// Four columns of a row of phi * gamma, from a column of the chunks on; zeros where phi has none.
template <class Spec>
MHCJIT_DEVICE device::Vector<float, 4> phi_part(const PreForwardArgs& args, int row, int padded_column) {
  constexpr int size = Spec::vec_size < 4 ? Spec::vec_size : 4;
  device::Vector<float, 4> part = {};
  int existing;
  const int column = PackedPhi<Spec>::column_of(padded_column, existing);
  if (row >= Spec::rows) return part;
#pragma unroll
  for (int first = 0; first < 4; first += size) {
    if (first >= existing) continue;
    const auto values = device::load<size>(args.phi + device::i64{row} * Spec::columns + column + first);
#pragma unroll
    for (int e = 0; e < size; ++e) part[first + e] = values[e];
    if constexpr (Spec::has_gamma) {
      const auto scales = device::load<size>(args.gamma + column + first);
#pragma unroll
      for (int e = 0; e < size; ++e) part[first + e] *= scales[e];
    }
  }
  return part;
}

template <class Spec>
MHCJIT_DEVICE void pre_forward_pack_phi(const PreForwardArgs& args, const TwoPassWork& work) {
  using Plan = PreForwardPackPhi<Spec>;
  using Phi = PackedPhi<Spec>;
  // The previous kernel may still use the workspace. The next kernel reads x before it waits for this one: it may begin
  // as soon as x is there.
  device::wait_for_previous_kernel();
  device::let_next_kernel_begin();
  const int thread = device::thread_index();
  const int range = static_cast<int>(device::block_index_x());
  const int tile = device::block_index_y();
  const int first_column = range * Spec::pack_columns;
  const int last_column =
      first_column + Spec::pack_columns < Phi::padded_columns ? first_column + Spec::pack_columns : Phi::padded_columns;
  const int part = thread % Phi::tile_parts;
  const int tile_row = part / 4 % Plan::rows;
  float scale = 1.0f;

  if constexpr (Spec::scales_phi) {
    float* scales = device::shared_floats();
    const int warp = thread / device::warp_size;
    const int lane = thread % device::warp_size;
    float largest = 0.0f;
#pragma unroll 8
    for (int column = first_column + lane * 4; column < last_column; column += device::warp_size * 4) {
      const auto values = phi_part<Spec>(args, tile * Plan::rows + warp, column);
#pragma unroll
      for (int e = 0; e < 4; ++e) largest = larger_magnitude(largest, values[e]);
    }
    largest = warp_largest(largest);
    if (lane == 0) {
      float inverse;
      scales[warp] = power_of_two_scale(largest, inverse);
      work.phi_factors[(device::i64{range} * Phi::tiles + tile) * Plan::rows + warp] = inverse;
    }
    device::block_barrier();
    scale = scales[tile_row];
  }

  constexpr int chunks_at_once = Spec::threads_per_block / Phi::tile_parts;
#pragma unroll 4
  for (int chunk = first_column / Phi::chunk_columns + thread / Phi::tile_parts;
       chunk * Phi::chunk_columns < last_column; chunk += chunks_at_once) {
    const int column = chunk * Phi::chunk_columns + part / device::warp_size * 16 + part % 4 * 4;
    const auto values = phi_part<Spec>(args, tile * Plan::rows + tile_row, column);
    const TwoTerms first = two_terms<typename Phi::Operand>(values[0] * scale, values[1] * scale);
    const TwoTerms second = two_terms<typename Phi::Operand>(values[2] * scale, values[3] * scale);
    Phi::store(work.packed_phi, chunk, tile, part, first, second);
  }
}
