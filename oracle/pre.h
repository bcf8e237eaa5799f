// The mHC "pre" operator, forward and backward, in float64: what every other implementation is checked against.
//
// Shapes are row-major, with M = n*n + 2n rows and n*D columns of phi: x [T, n, D], phi [M, n*D], alpha [3], bias [M],
// gamma [n, D]; h_in [T, D], h_post [T, n], h_res [T, n, n], inv_rms [T], h_mix [T, M], h_pre [T, n]. The formulas
// stand in mhcjit/pre_forward.h and mhcjit/pre_backward.h.
//
// Work is shared among threads; the bits of a result do not depend on how many. Vectors must have the sizes above:
// nothing is checked.
#pragma once

#include <cstdint>
#include <vector>

namespace mhcjit::oracle {

struct Shape {
  std::int64_t T = 0;
  int n = 0;
  std::int64_t D = 0;
  bool has_gamma = false;

  int rows() const { return n * n + 2 * n; }
  std::int64_t columns() const { return n * D; }
};

struct Inputs {
  std::vector<double> x, phi, alpha, bias;
  std::vector<double> gamma;  // empty when the shape has no gamma
  double norm_eps = 1e-6;
  double hc_eps = 1e-6;
  double post_mult = 2.0;
};

struct Forward {
  std::vector<double> h_in, h_post, h_res, inv_rms, h_mix, h_pre;
  // The norm that h_res has if alpha * u and bias do not cancel, each u as large as those of its token are.
  double h_res_terms = 0.0;
};

// An empty vector is an absent gradient: it counts as zero.
struct OutputGradients {
  std::vector<double> dh_in, dh_post, dh_res;
};

struct Backward {
  std::vector<double> dx, dphi;
  std::vector<double> dgamma;  // empty when the shape has no gamma
  std::vector<double> dalpha, dbias;
  double dalpha_terms = 0.0;  // the sum of the magnitudes of all terms of dalpha, which may cancel
};

// `threads` 0: one per processor.
Forward pre_forward(const Shape& shape, const Inputs& inputs, unsigned threads = 0);
Backward pre_backward(const Shape& shape, const Inputs& inputs, const Forward& forward,
                      const OutputGradients& gradients, unsigned threads = 0);

}  // namespace mhcjit::oracle
