// The portable kernels of pre_backward pass these buffers on to each other, in the caller's workspace. The host fills
// the same struct.
#pragma once

struct PortableBackwardWork {
  unsigned int* records;  // [T]: pre_backward/token_record.cuh; by phase of the token, T mod phases, then by token
  float* bias_partials;   // [2, M, bias_slots]: sums of d(logit), then of d(logit) * u
  float* phi_partials;    // [token_splits, M, n*D]: sums of dh_mix^T x over the tiles of a split
  int bias_slots;
  int token_splits;  // each sums tokens of one phase
  int phases;
  int tiles_per_sum;         // added up by the tensor cores alone
  int adds_splits_up_later;  // 0: the kernel that makes dx makes every output
};
