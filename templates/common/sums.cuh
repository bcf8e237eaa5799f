// Sums across the lanes of a warp and across the threads that share a token. The order of the additions depends on
// the thread numbers alone, so that equal inputs give equal bits.
#pragma once

#include <device/device.cuh>

// The sum of `value` over the warp, in every lane.
MHCJIT_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int mask = device::warp_size / 2; mask > 0; mask /= 2) value += device::shuffle_xor(value, mask);
  return value;
}

// Sums each of `count` values over the `group_threads` consecutive threads of a group, in every thread of the group.
// `scratch` is shared by the block: count floats for each warp. Every thread of the block takes part.
template <int count, int group_threads>
MHCJIT_DEVICE void group_sum(float (&values)[count], float* scratch) {
  static_assert(group_threads % device::warp_size == 0);
#pragma unroll
  for (int i = 0; i < count; ++i) values[i] = warp_sum(values[i]);
  constexpr int group_warps = group_threads / device::warp_size;
  if constexpr (group_warps > 1) {
    const int warp = device::thread_index() / device::warp_size;
    const int lane = device::thread_index() % device::warp_size;
    const int first_warp = warp / group_warps * group_warps;
#pragma unroll
    for (int i = 0; i < count; ++i)
      if (lane == 0) scratch[warp * count + i] = values[i];
    device::block_barrier();
#pragma unroll
    for (int i = 0; i < count; ++i) {
      values[i] = scratch[first_warp * count + i];
#pragma unroll
      for (int other = 1; other < group_warps; ++other) values[i] += scratch[(first_warp + other) * count + i];
    }
    // The next use of the scratch must not overtake these reads.
    device::block_barrier();
  }
}
