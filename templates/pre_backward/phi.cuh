// pre_backward, dphi and dgamma from the sums over splits of the tokens. With G[j, k] = sum_s phi_partials[s, j, k]:
//
//     dphi[j, k] = gamma[k] * G[j, k]          dgamma[k] = sum_j phi[j, k] * G[j, k]
//
// Grid:   x = blocks of columns; the last block makes dbias and dalpha.
// Block:  a warp across the columns, the warps across the rows.
// Shared: for each warp, its part of dgamma: one float a column.
#pragma once

#include <pre_backward/bias.cuh>

template <class Spec>
struct PreBackwardPhi {
  static constexpr int part_size = Spec::vec_size < 4 ? Spec::vec_size : 4;
  static constexpr int columns_per_block = device::warp_size * part_size;
  static constexpr int blocks = (Spec::columns + columns_per_block - 1) / columns_per_block;
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int dgamma_floats = Spec::has_gamma ? warps * columns_per_block : 0;
  static constexpr int bias_floats = BiasSums<Spec>::shared_floats;
  static constexpr int shared_floats = dgamma_floats > bias_floats ? dgamma_floats : bias_floats;
};

template <class Spec>
MHCJIT_DEVICE void pre_backward_phi(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Plan = PreBackwardPhi<Spec>;
  constexpr int part_size = Plan::part_size;
  using Part = device::Vector<float, part_size>;

  // The call's last kernel where no more is wanted.
  device::let_next_kernel_begin();
  if (device::block_index_x() == Plan::blocks) {
    device::wait_for_previous_kernel();
    sum_bias<Spec>(args, work);
    return;
  }
  if (args.dphi == nullptr && args.dgamma == nullptr) return;
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  const device::i64 column = device::block_index_x() * Plan::columns_per_block + lane * part_size;
  const bool exists = column < Spec::columns;

  Part gamma = {};
  if constexpr (Spec::has_gamma) {
    if (exists) gamma = device::load<part_size>(args.gamma + column);
  }
  Part dgamma = {};
  device::wait_for_previous_kernel();
#pragma unroll 1
  for (int row = warp; exists && row < Spec::rows; row += Plan::warps) {
    const device::i64 offset = device::i64{row} * Spec::columns + column;
    Part sum = device::load<part_size>(work.phi_partials + offset);
#pragma unroll 8
    for (int split = 1; split < work.token_splits; ++split) {
      const Part more =
          device::load<part_size>(work.phi_partials + device::i64{split} * Spec::rows * Spec::columns + offset);
#pragma unroll
      for (int e = 0; e < part_size; ++e) sum[e] += more[e];
    }
    if constexpr (Spec::has_gamma) {
      if (args.dgamma != nullptr) {
        const Part phi = device::load<part_size>(args.phi + offset);
#pragma unroll
        for (int e = 0; e < part_size; ++e) dgamma[e] = device::fma(phi[e], sum[e], dgamma[e]);
      }
#pragma unroll
      for (int e = 0; e < part_size; ++e) sum[e] *= gamma[e];
    }
    if (args.dphi == nullptr) continue;
    if (args.accumulate_parameters != 0) {
      const Part previous = device::load<part_size>(args.dphi + offset);
#pragma unroll
      for (int e = 0; e < part_size; ++e) sum[e] += previous[e];
    }
    device::store(args.dphi + offset, sum);
  }

  if constexpr (Spec::has_gamma) {
    float* parts = device::shared_floats();
    device::store(parts + warp * Plan::columns_per_block + lane * part_size, dgamma);
    device::block_barrier();
    if (warp != 0 || !exists || args.dgamma == nullptr) return;
    for (int other = 1; other < Plan::warps; ++other) {
      const Part more = device::load<part_size>(parts + other * Plan::columns_per_block + lane * part_size);
#pragma unroll
      for (int e = 0; e < part_size; ++e) dgamma[e] += more[e];
    }
    if (args.accumulate_parameters != 0) {
      const Part previous = device::load<part_size>(args.dgamma + column);
#pragma unroll
      for (int e = 0; e < part_size; ++e) dgamma[e] += previous[e];
    }
    device::store(args.dgamma + column, dgamma);
  }
}
