// Arguments of every kernel of pre_forward: its tensors, T and scalars, named as in the public header. A null output is
// not written. Each emitted unit asserts that the launch puts them where this struct has them.
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
  long long tokens;
  float norm_eps;
  float hc_eps;
  float post_mult;
};
