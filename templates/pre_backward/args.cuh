// Every kernel of pre_backward is launched with this struct: the tensors, T and scalars, named as in the public header.
// A null output is not written; a null dh_* counts as zero. Each emitted unit asserts that the launch puts the members
// where this struct has them.
#pragma once

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
  long long tokens;
  float hc_eps;
  float post_mult;
  int accumulate_dx;
  int accumulate_parameters;
};
