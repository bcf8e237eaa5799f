// Partial sums that the blocks of a cluster have sent to one place: four of each block, added in the order of ranks.
#pragma once

#include <device/matrix.cuh>

// `stride` bytes lie between two blocks' sums. `at_once` loads are under way at a time.
template <int blocks, int at_once>
MHCJIT_DEVICE void add_blocks(float (&sum)[4], device::SharedAddress first, int stride) {
#pragma unroll 1
  for (int block = 0; block < blocks; block += at_once) {
    device::Vector<float, 4> parts[at_once] = {};
#pragma unroll
    for (int i = 0; i < at_once; ++i)
      if (block + i < blocks) parts[i] = device::load_shared_4(first + (block + i) * stride);
#pragma unroll
    for (int i = 0; i < at_once; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e)
        if (block + i < blocks) sum[e] += parts[i][e];
    }
  }
}
