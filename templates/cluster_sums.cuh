// Partial sums that the blocks of a cluster have sent to one place: four of each block, added in the order of ranks.
#pragma once

#include <device_matrix.cuh>

// `stride` bytes lie between two blocks' sums. Four loads are under way at a time.
template <int blocks>
MHCJIT_DEVICE void add_blocks(float (&sum)[4], device::SharedAddress first, int stride) {
#pragma unroll
  for (int block = 0; block < blocks; block += 4) {
    device::Vector<float, 4> parts[4] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (block + i < blocks) parts[i] = device::load_shared_4(first + (block + i) * stride);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (block + i < blocks) sum[e] += parts[i][e];
    }
  }
}
