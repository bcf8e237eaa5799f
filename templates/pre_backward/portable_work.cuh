// What the portable kernels of pre_backward hand on to each other, in the caller's workspace. The host fills the same
// struct.
#pragma once

struct PortableBackwardWork {
  float* dh_mix;               // [T, padded_rows]
  float* x_coefficient;        // [T]: c of dx's term c * x
  float* bias_partials;        // [bias_slots, 2, M]: sums of d(logit), then of d(logit) * u
  float* phi_partials;         // [token_splits, M, n*D]: sums of dh_mix^T x over a range of tokens
  long long tokens_per_split;  // of phi_partials
  int token_splits;
  int bias_slots;
};
