#include <algorithm>
#include <cmath>
#include <span>

#include "oracle/pre.h"
#include "support/threads.h"

namespace mhcjit::oracle {
namespace {

constexpr std::int64_t column_block = 128;

int group_of_row(const Shape& shape, int j) { return j < shape.n ? 0 : j < 2 * shape.n ? 1 : 2; }

// The gradient at the logits of one token, [p, q, r].
void logit_gradient(const Shape& shape, const Inputs& inputs, const Forward& forward, const OutputGradients& gradients,
                    std::int64_t t, double* out) {
  const int n = shape.n;
  for (int i = 0; i < n && !gradients.dh_in.empty(); ++i) {
    double dh_pre = 0.0;
    for (std::int64_t d = 0; d < shape.D; ++d) {
      dh_pre += gradients.dh_in[t * shape.D + d] * inputs.x[(t * n + i) * shape.D + d];
    }
    const double s = forward.h_pre[t * n + i] - inputs.hc_eps;
    out[i] = dh_pre * s * (1.0 - s);
  }
  for (int i = 0; i < n && !gradients.dh_post.empty() && inputs.post_mult != 0.0; ++i) {
    const double h_post = forward.h_post[t * n + i];
    out[n + i] = gradients.dh_post[t * n + i] * h_post * (1.0 - h_post / inputs.post_mult);
  }
  for (int i = 0; i < n * n && !gradients.dh_res.empty(); ++i) out[2 * n + i] = gradients.dh_res[t * n * n + i];
}

void dx_of_token(const Shape& shape, const Inputs& inputs, const Forward& forward, const OutputGradients& gradients,
                 std::int64_t t, std::span<const double> dh_mix, double dinv, double* dx) {
  const std::int64_t columns = shape.columns();
  const double* x = &inputs.x[t * columns];
  const double inv_rms = forward.inv_rms[t];
  const double c = -dinv * inv_rms * inv_rms * inv_rms / static_cast<double>(columns);

  for (std::int64_t begin = 0; begin < columns; begin += column_block) {
    const std::int64_t end = std::min(columns, begin + column_block);
    for (int j = 0; j < shape.rows(); ++j) {
      for (std::int64_t k = begin; k < end; ++k) dx[k] += dh_mix[j] * inputs.phi[j * columns + k];
    }
  }
  for (std::int64_t k = 0; k < columns && shape.has_gamma; ++k) dx[k] *= inputs.gamma[k];
  for (std::int64_t k = 0; k < columns; ++k) dx[k] += c * x[k];
  for (std::int64_t k = 0; k < columns && !gradients.dh_in.empty(); ++k) {
    dx[k] += forward.h_pre[t * shape.n + k / shape.D] * gradients.dh_in[t * shape.D + k % shape.D];
  }
}

// Columns [begin, end) of dphi and dgamma, from G = sum_t dh_mix^T . X: gamma is a factor of whole columns.
void parameter_columns(const Shape& shape, const Inputs& inputs, const std::vector<double>& dh_mix, std::int64_t begin,
                       std::int64_t end, Backward& out) {
  const std::int64_t columns = shape.columns();
  for (std::int64_t t = 0; t < shape.T; ++t) {
    for (int j = 0; j < shape.rows(); ++j) {
      const double weight = dh_mix[t * shape.rows() + j];
      for (std::int64_t k = begin; k < end; ++k) out.dphi[j * columns + k] += weight * inputs.x[t * columns + k];
    }
  }
  for (int j = 0; j < shape.rows() && shape.has_gamma; ++j) {
    for (std::int64_t k = begin; k < end; ++k) {
      double& g = out.dphi[j * columns + k];
      out.dgamma[k] += inputs.phi[j * columns + k] * g;
      g *= inputs.gamma[k];
    }
  }
}

}  // namespace

Backward pre_backward(const Shape& shape, const Inputs& inputs, const Forward& forward,
                      const OutputGradients& gradients, unsigned threads) {
  const int rows = shape.rows();
  const std::int64_t columns = shape.columns();
  Backward out;
  out.dx.resize(shape.T * columns);
  out.dphi.resize(rows * columns);
  if (shape.has_gamma) out.dgamma.resize(columns);
  out.dalpha.resize(3);
  out.dbias.resize(rows);

  std::vector<double> at_logits(shape.T * rows);  // [p, q, r]
  std::vector<double> dh_mix(shape.T * rows);
  parallel_for(shape.T, threads, [&](std::int64_t t) {
    logit_gradient(shape, inputs, forward, gradients, t, &at_logits[t * rows]);
    double dinv = 0.0;
    for (int j = 0; j < rows; ++j) {
      const double du = inputs.alpha[group_of_row(shape, j)] * at_logits[t * rows + j];
      dh_mix[t * rows + j] = du * forward.inv_rms[t];
      dinv += du * forward.h_mix[t * rows + j];
    }
    dx_of_token(shape, inputs, forward, gradients, t, std::span(dh_mix).subspan(t * rows, rows), dinv,
                &out.dx[t * columns]);
  });

  const std::int64_t blocks = (columns + column_block - 1) / column_block;
  parallel_for(blocks, threads, [&](std::int64_t block) {
    const std::int64_t begin = block * column_block;
    parameter_columns(shape, inputs, dh_mix, begin, std::min(columns, begin + column_block), out);
  });

  for (std::int64_t t = 0; t < shape.T; ++t) {
    for (int j = 0; j < rows; ++j) {
      const double gradient = at_logits[t * rows + j];
      out.dbias[j] += gradient;
      const double term = gradient * forward.h_mix[t * rows + j] * forward.inv_rms[t];
      out.dalpha[group_of_row(shape, j)] += term;
      out.dalpha_terms += std::abs(term);
    }
  }
  return out;
}

}  // namespace mhcjit::oracle
