// pre_backward, dbias and dalpha from the slots' sums:
//
//     dbias[j] = sum over slots of bias_partials[0, j, slot]
//     dalpha   = sums over the rows of pre, post and res of sum over slots of bias_partials[1, j, slot]
//
// One block does it: each warp takes a row at a time, its lanes across the slots.
// Shared: M floats, each row's part of dalpha.
#pragma once

#include <common/sums.cuh>
#include <device/device.cuh>
#include <pre_backward/args.cuh>
#include <pre_backward/portable_work.cuh>

template <class Spec>
struct BiasSums {
  static constexpr int warps = Spec::threads_per_block / device::warp_size;
  static constexpr int rows_per_warp = (Spec::rows + warps - 1) / warps;
  static constexpr int rows_at_once = rows_per_warp < 3 ? rows_per_warp : 3;
  static constexpr int shared_floats = Spec::rows;
};

template <class Spec>
MHCJIT_DEVICE void sum_bias(const PreBackwardArgs& args, const PortableBackwardWork& work) {
  using Sums = BiasSums<Spec>;
  constexpr int n = Spec::n;
  const int warp = device::thread_index() / device::warp_size;
  const int lane = device::thread_index() % device::warp_size;
  float* alpha_rows = device::shared_floats();

  // A warp adds up several rows at a time, since it is bound by memory latency.
#pragma unroll 1
  for (int first = warp; first < Spec::rows; first += Sums::rows_at_once * Sums::warps) {
    float sums[Sums::rows_at_once][2] = {};
#pragma unroll 2
    for (int slot = lane; slot < work.bias_slots; slot += device::warp_size) {
#pragma unroll
      for (int i = 0; i < Sums::rows_at_once; ++i) {
        const int row = first + i * Sums::warps;
        if (row >= Spec::rows) continue;
        const float* of_row = work.bias_partials + device::i64{row} * work.bias_slots + slot;
        sums[i][0] += of_row[0];
        sums[i][1] += of_row[device::i64{Spec::rows} * work.bias_slots];
      }
    }
#pragma unroll
    for (int i = 0; i < Sums::rows_at_once; ++i) {
      const int row = first + i * Sums::warps;
      const float bias_sum = warp_sum(sums[i][0]);
      const float alpha_sum = warp_sum(sums[i][1]);
      if (row >= Spec::rows || lane != 0) continue;
      alpha_rows[row] = alpha_sum;
      if (args.dbias != nullptr)
        args.dbias[row] = bias_sum + (args.accumulate_parameters != 0 ? args.dbias[row] : 0.0f);
    }
  }
  device::block_barrier();

  // One thread adds up the rows of pre, one those of post, one those of res.
  const int part = device::thread_index();
  if (part >= 3 || args.dalpha == nullptr) return;
  const int first_row = part * n;
  const int last_row = part < 2 ? first_row + n : Spec::rows;
  float sum = args.accumulate_parameters != 0 ? args.dalpha[part] : 0.0f;
  for (int row = first_row; row < last_row; ++row) sum += alpha_rows[row];
  args.dalpha[part] = sum;
}
