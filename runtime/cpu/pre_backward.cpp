#include <algorithm>

#include "runtime/cpu/elements.h"
#include "runtime/cpu/pre_backward.h"
#include "runtime/cpu/pre_backward_gradients.h"
#include "runtime/cpu/tiling.h"
#include "support/threads.h"

namespace mhcjit::runtime::cpu {
namespace {

void fill_dh_pre(const Backward& backward, std::int64_t t, double* dh_pre) {
  const codegen::Problem& problem = backward.problem;
  float dh_in[columns_per_chunk];
  float x[columns_per_chunk];
  for (std::int64_t begin = 0; begin < problem.d; begin += columns_per_chunk) {
    const std::int64_t width = std::min(columns_per_chunk, problem.d - begin);
    load(problem.dtype, backward.args.dh_in, t * problem.d + begin, width, dh_in);
    for (int i = 0; i < problem.n; ++i) {
      load(problem.dtype, backward.args.x, (t * problem.n + i) * problem.d + begin, width, x);
      dh_pre[i] += dot(dh_in, x, width);
    }
  }
}

void fill_logit_gradient(const Backward& backward, std::int64_t t) {
  const mhcjit_pre_backward_args& args = backward.args;
  const int n = backward.problem.n;
  float* p = backward.at_logits(t);
  float* q = p + n;
  float* r = q + n;
  std::fill_n(p, backward.problem.rows(), 0.0f);
  if (args.dh_in != nullptr) {
    double dh_pre[codegen::max_n] = {};
    fill_dh_pre(backward, t, dh_pre);
    for (int i = 0; i < n; ++i) {
      const float s = args.h_pre[t * n + i] - args.hc_eps;
      p[i] = static_cast<float>(dh_pre[i]) * s * (1.0f - s);
    }
  }
  if (args.dh_post != nullptr && args.post_mult != 0.0f) {
    for (int i = 0; i < n; ++i) {
      const float h_post = args.h_post[t * n + i];
      q[i] = args.dh_post[t * n + i] * h_post * (1.0f - h_post / args.post_mult);
    }
  }
  if (args.dh_res != nullptr) std::copy_n(args.dh_res + t * n * n, n * n, r);
}

// c of token t: the path through inv_rms.
float x_factor(const Backward& backward, std::int64_t t) {
  const codegen::Problem& problem = backward.problem;
  double dinv = 0.0;
  for (int j = 0; j < problem.rows(); ++j) {
    dinv += double{backward.du(t, j)} * backward.args.h_mix[t * problem.rows() + j];
  }
  const double inv_rms = backward.args.inv_rms[t];
  return static_cast<float>(-dinv * inv_rms * inv_rms * inv_rms / static_cast<double>(problem.columns()));
}

// Columns [begin, begin + width) of stream i, for the tokens of a tile.
void write_dx(const Backward& backward, std::int64_t first, std::int64_t count, int i, std::int64_t begin,
              std::int64_t width, const float* x_factors) {
  const codegen::Problem& problem = backward.problem;
  const mhcjit_pre_backward_args& args = backward.args;
  const std::int64_t column = i * problem.d + begin;
  float dx[tokens_per_tile][columns_per_chunk] = {};
  for (int j = 0; j < problem.rows(); ++j) {
    const float* phi = args.phi + j * problem.columns() + column;
    for (std::int64_t k = 0; k < count; ++k) add_scaled(backward.dh_mix(first + k, j), phi, width, dx[k]);
  }
  const codegen::DType dx_dtype = problem.has_fp32_dx ? codegen::DType::fp32 : problem.dtype;
  float scratch[columns_per_chunk];
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t t = first + k;
    const std::int64_t offset = t * problem.columns() + column;
    if (problem.has_gamma) multiply(args.gamma + column, width, dx[k]);
    load(problem.dtype, args.x, offset, width, scratch);
    add_scaled(x_factors[k], scratch, width, dx[k]);
    if (args.dh_in != nullptr) {
      load(problem.dtype, args.dh_in, t * problem.d + begin, width, scratch);
      add_scaled(args.h_pre[t * problem.n + i], scratch, width, dx[k]);
    }
    if (args.accumulate_dx != 0) {
      load(dx_dtype, args.dx, offset, width, scratch);
      add_scaled(1.0f, scratch, width, dx[k]);
    }
    store(dx_dtype, dx[k], width, args.dx, offset);
  }
}

void backward_of_tile(const Backward& backward, std::int64_t first, std::int64_t count) {
  const codegen::Problem& problem = backward.problem;
  for (std::int64_t k = 0; k < count; ++k) fill_logit_gradient(backward, first + k);
  if (backward.args.dx == nullptr) return;
  float x_factors[tokens_per_tile];
  for (std::int64_t k = 0; k < count; ++k) x_factors[k] = x_factor(backward, first + k);
  for (int i = 0; i < problem.n; ++i) {
    for (std::int64_t begin = 0; begin < problem.d; begin += columns_per_chunk) {
      write_dx(backward, first, count, i, begin, std::min(columns_per_chunk, problem.d - begin), x_factors);
    }
  }
}

}  // namespace

std::size_t pre_backward_workspace_bytes(const codegen::Problem& problem, std::int64_t T) {
  return static_cast<std::size_t>(T) * static_cast<std::size_t>(problem.rows()) * sizeof(float);
}

void pre_backward(const codegen::Problem& problem, const mhcjit_pre_backward_args& args, unsigned threads) {
  const Backward backward{problem, args};
  parallel_for(blocks_of(args.T, tokens_per_tile), threads, [&](std::int64_t block) {
    const std::int64_t first = block * tokens_per_tile;
    backward_of_tile(backward, first, std::min(tokens_per_tile, args.T - first));
  });
  parameter_gradients(backward, threads);
}

}  // namespace mhcjit::runtime::cpu
