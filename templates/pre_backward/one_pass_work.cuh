// The one-pass kernels of pre_backward pass these buffers on to each other, in the caller's workspace. The host fills
// the same struct.
#pragma once

struct OnePassBackwardWork {
  unsigned* exchange;  // the exchange's ring in global memory, for blocks without a cluster: begins as zeros
  float* phi_sums;     // [groups, blocks of a group, column tiles of a block, row blocks, 32 lanes, 4]
  float* logit_sums;   // [groups, coefficient warps, rows in whole blocks + 4]: of gradients, then of each class's u
  int* groups;         // [1]: the launch's number of groups
  int tiles_per_sum;   // added up by the tensor cores alone
};
