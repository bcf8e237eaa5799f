// Sums across the lanes of a warp and across the threads that share a token. The order of the additions depends on
// the thread numbers alone, so that equal inputs give equal bits.
#pragma once

#include <device.cuh>

// The sum of `value` over the warp, in every lane.
MHCJIT_DEVICE float warp_sum(float value) {
#pragma unroll
  for (int mask = device::warp_size / 2; mask > 0; mask /= 2) value += device::shuffle_xor(value, mask);
  return value;
}

// One step of warp_sum_scatter: 2 * half values in each lane become half, summed over lanes that differ in `half_warp`.
template <int half, int half_warp, int count>
MHCJIT_DEVICE void warp_sum_scatter_step(float (&values)[count]) {
  const bool keeps_upper = (device::thread_index() & half_warp) != 0;
#pragma unroll
  for (int i = 0; i < half; ++i) {
    const float sent = keeps_upper ? values[i] : values[half + i];
    const float kept = keeps_upper ? values[half + i] : values[i];
    values[i] = kept + device::shuffle_xor(sent, half_warp);
  }
  if constexpr (half_warp > 1) warp_sum_scatter_step<half / 2, half_warp / 2>(values);
}

// Sums each of `count` values over the warp and leaves the sum of value l * count / 32 + i in values[i] of lane l.
// Halves the number of values at each step: count - count / 32 shuffles instead of 5 * count.
template <int count>
MHCJIT_DEVICE void warp_sum_scatter(float (&values)[count]) {
  static_assert(count % device::warp_size == 0);
  warp_sum_scatter_step<count / 2, device::warp_size / 2>(values);
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
