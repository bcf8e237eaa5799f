// pre_backward, dbias and dalpha from the slots' sums:
//
//     dbias[j] = sum over slots of bias_partials[slot, 0, j]
//     dalpha   = sums over the rows of pre, post and res of sum over slots of bias_partials[slot, 1, j]
//
// Grid:   one block.
// Block:  a warp a row at a time, its lanes across the slots.
// Shared: M floats, each row's part of dalpha.
#pragma once

#include <common/sums.cuh>
#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/portable_work.cuh>

template <class Spec>
struct PreBackwardBias {
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int shared_floats = Spec::rows;
};

template <class Spec>
MHCJIT_DEVICE void pre_backward_bias(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  constexpr int n = Spec::n;
  device::let_next_kernel_begin();
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  float* alpha_rows = device::shared_floats();

  for (int row = warp; row < Spec::rows; row += PreBackwardBias<Spec>::warps) {
    float bias_sum = 0.0f;
    float alpha_sum = 0.0f;
#pragma unroll 4
    for (int slot = lane; slot < work.bias_slots; slot += device::warp_size) {
      const float* sums = work.bias_partials + device::i64{slot} * 2 * Spec::rows;
      bias_sum += sums[row];
      alpha_sum += sums[Spec::rows + row];
    }
    bias_sum = warp_sum(bias_sum);
    alpha_sum = warp_sum(alpha_sum);
    if (lane == 0) {
      alpha_rows[row] = alpha_sum;
      if (args.dbias != nullptr)
        args.dbias[row] = bias_sum + (args.accumulate_parameters != 0 ? args.dbias[row] : 0.0f);
    }
  }
  device::block_barrier();

  const int part = device::thread_index();  // pre, post, res
  if (part >= 3 || args.dalpha == nullptr) return;
  const int first_row = part * n;
  const int last_row = part < 2 ? first_row + n : Spec::rows;
  float sum = args.accumulate_parameters != 0 ? args.dalpha[part] : 0.0f;
  for (int row = first_row; row < last_row; ++row) sum += alpha_rows[row];
  args.dalpha[part] = sum;
}
