// What the one-pass kernels of pre_backward hand on to each other, in the caller's workspace. The host fills the same
// struct.
#pragma once

struct OnePassBackwardWork {
  unsigned* exchange;  // what blocks that are no cluster tell each other: begins as zeros
  float* phi_sums;     // [groups, blocks of a group, column tiles of a block, row blocks, 32 lanes, 4]
  float* logit_sums;   // [groups, coefficient warps, rows in whole blocks + 4]: of gradients, then of each class's u
  int* groups;         // [1]: how many the launch had
  int tiles_per_sum;   // that the tensor cores alone add up
};
