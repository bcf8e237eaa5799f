#include <array>
#include <cmath>

#include "oracle/pre.h"
#include "support/threads.h"

namespace mhcjit::oracle {
namespace {

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

// Eight running sums: independent additions are faster, and rounding errors smaller, than one chain.
double dot(const double* a, const double* b, std::int64_t count) {
  std::array<double, 8> sums{};
  std::int64_t k = 0;
  for (; k + 8 <= count; k += 8) {
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[k + lane] * b[k + lane];
  }
  for (; k < count; ++k) sums[0] += a[k] * b[k];
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

std::vector<double> scale_columns(const std::vector<double>& phi, const std::vector<double>& gamma) {
  std::vector<double> scaled = phi;
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= gamma[i % gamma.size()];
  return scaled;
}

void forward_of_token(const Shape& shape, const Inputs& inputs, const std::vector<double>& phi_gamma, std::int64_t t,
                      Forward& out) {
  const int n = shape.n;
  const std::int64_t columns = shape.columns();
  const double* x = &inputs.x[t * columns];
  double* h_mix = &out.h_mix[t * shape.rows()];
  double* h_pre = &out.h_pre[t * n];
  double* h_post = &out.h_post[t * n];
  double* h_res = &out.h_res[t * n * n];

  for (int j = 0; j < shape.rows(); ++j) h_mix[j] = dot(x, &phi_gamma[j * columns], columns);
  const double mean_square = dot(x, x, columns) / static_cast<double>(columns);
  const double inv_rms = 1.0 / std::sqrt(mean_square + inputs.norm_eps);
  out.inv_rms[t] = inv_rms;

  const auto logit = [&](int group, int j) { return inputs.alpha[group] * h_mix[j] * inv_rms + inputs.bias[j]; };
  for (int i = 0; i < n; ++i) h_pre[i] = sigmoid(logit(0, i)) + inputs.hc_eps;
  for (int i = 0; i < n; ++i) h_post[i] = inputs.post_mult * sigmoid(logit(1, n + i));
  for (int i = 0; i < n * n; ++i) h_res[i] = logit(2, 2 * n + i);

  double* h_in = &out.h_in[t * shape.D];
  for (int i = 0; i < n; ++i) {
    for (std::int64_t d = 0; d < shape.D; ++d) h_in[d] += h_pre[i] * x[i * shape.D + d];
  }
}

double terms_of_h_res(const Shape& shape, const Inputs& inputs, const Forward& forward) {
  const int n = shape.n;
  const double bias = dot(&inputs.bias[2 * n], &inputs.bias[2 * n], std::int64_t{n} * n);
  double square = 0.0;
  for (std::int64_t t = 0; t < shape.T; ++t) {
    const double* h_mix = &forward.h_mix[t * shape.rows()];
    const double scale = inputs.alpha[2] * forward.inv_rms[t];
    square += bias + scale * scale * dot(h_mix, h_mix, shape.rows()) * n * n / shape.rows();
  }
  return std::sqrt(square);
}

}  // namespace

Forward pre_forward(const Shape& shape, const Inputs& inputs, unsigned threads) {
  Forward out;
  out.h_in.resize(shape.T * shape.D);
  out.h_post.resize(shape.T * shape.n);
  out.h_res.resize(shape.T * shape.n * shape.n);
  out.inv_rms.resize(shape.T);
  out.h_mix.resize(shape.T * shape.rows());
  out.h_pre.resize(shape.T * shape.n);

  const std::vector<double> scaled = shape.has_gamma ? scale_columns(inputs.phi, inputs.gamma) : std::vector<double>();
  const std::vector<double>& phi_gamma = shape.has_gamma ? scaled : inputs.phi;
  parallel_for(shape.T, threads, [&](std::int64_t t) { forward_of_token(shape, inputs, phi_gamma, t, out); });
  out.h_res_terms = terms_of_h_res(shape, inputs, out);
  return out;
}

}  // namespace mhcjit::oracle
