// The two halves of backward share the gradient at the logits of each token, which lies in the workspace.
#pragma once

#include <cstdint>

#include "codegen/problem.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::runtime::cpu {

struct Backward {
  const codegen::Problem& problem;
  const mhcjit_pre_backward_args& args;

  // [p, q, r] of token t, M floats.
  float* at_logits(std::int64_t t) const { return static_cast<float*>(args.workspace) + t * problem.rows(); }

  // The element of alpha that scales row j of phi.
  int group_of_row(int j) const { return j < problem.n ? 0 : j < 2 * problem.n ? 1 : 2; }

  float du(std::int64_t t, int j) const { return args.alpha[group_of_row(j)] * at_logits(t)[j]; }
  float dh_mix(std::int64_t t, int j) const { return du(t, j) * args.inv_rms[t]; }
};

// dphi, dgamma, dalpha and dbias, those that are wanted, from the logit gradients of all tokens.
void parameter_gradients(const Backward& backward, unsigned threads);

}  // namespace mhcjit::runtime::cpu
