// What the one-pass kernels of pre_backward hand on to each other, in the caller's workspace. The host fills the same
// struct.
#pragma once

struct OnePassBackwardWork {
  float* phi_sums;    // [clusters, blocks of a cluster, column tiles of a block, row blocks, 32 lanes, 4]
  float* logit_sums;  // [clusters, coefficient warps, rows in whole blocks + 4]: of gradients, then of each class's u
  int* clusters;      // [1]: how many the launch had
};
