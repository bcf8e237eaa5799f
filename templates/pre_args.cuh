// What every kernel of an operator is launched with: one struct, by value. Host and device share this text; each
// emitted unit asserts the size that the host counted on.
//
// Pointers named as in the public header. A null output is not written; a null dh_* counts as zero. The float*
// under "workspace" point into the caller's workspace, where codegen's workspace layout puts them.
#pragma once

struct PreForwardArgs {
  const void* x;
  const float* phi;
  const float* alpha;
  const float* bias;
  const float* gamma;
  void* h_in;
  float* h_post;
  float* h_res;
  float* inv_rms;
  float* h_mix;
  float* h_pre;
  // workspace
  float* partial_sums;       // [T, k_splits, M + 1]: partial h_mix, then the partial sum of squares
  unsigned int* packed_phi;  // phi * gamma as operands of the tensor cores (packed_phi.cuh)
  float* phi_factors;        // [sums of columns, rows of packed_phi]: by what sums over its rows are multiplied
  long long tokens;
  float norm_eps;
  float hc_eps;
  float post_mult;
};

struct PreBackwardArgs {
  const void* x;
  const float* phi;
  const float* alpha;
  const float* gamma;
  const float* inv_rms;
  const float* h_mix;
  const float* h_pre;
  const float* h_post;
  const void* dh_in;
  const float* dh_post;
  const float* dh_res;
  void* dx;
  float* dphi;
  float* dgamma;
  float* dalpha;
  float* dbias;
  // workspace
  float* dh_mix;         // [T, padded_rows]
  float* x_coefficient;  // [T]: c of dx's term c * x
  float* bias_partials;  // [bias_slots, 2, M]: sums of d(logit), then of d(logit) * u
  float* phi_partials;   // [token_splits, M, n*D]: sums of dh_mix^T x over a range of tokens
  long long tokens;
  long long tokens_per_split;  // of phi_partials
  int token_splits;
  int bias_slots;
  float hc_eps;
  float post_mult;
  int accumulate_dx;
  int accumulate_parameters;
};
