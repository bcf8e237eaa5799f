#include <algorithm>
#include <cmath>

#include "runtime/cpu/elements.h"
#include "runtime/cpu/pre_forward.h"
#include "runtime/cpu/tiling.h"
#include "support/threads.h"

namespace mhcjit::runtime::cpu {
namespace {

float sigmoid(float z) { return 1.0f / (1.0f + std::exp(-z)); }

// Tokens [first, first + count) and what is summed over their columns.
struct Tile {
  std::int64_t first;
  std::int64_t count;
  double h_mix[tokens_per_tile][max_rows] = {};
  double square_sum[tokens_per_tile] = {};
};

void project(const codegen::Problem& problem, const mhcjit_pre_forward_args& args, Tile& tile) {
  const std::int64_t columns = problem.columns();
  float x[tokens_per_tile][columns_per_chunk];
  for (std::int64_t begin = 0; begin < columns; begin += columns_per_chunk) {
    const std::int64_t width = std::min(columns_per_chunk, columns - begin);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      load(problem.dtype, args.x, (tile.first + i) * columns + begin, width, x[i]);
      tile.square_sum[i] += dot(x[i], x[i], width);
      if (problem.has_gamma) multiply(args.gamma + begin, width, x[i]);
    }
    for (int j = 0; j < problem.rows(); ++j) {
      const float* phi = args.phi + j * columns + begin;
      for (std::int64_t i = 0; i < tile.count; ++i) tile.h_mix[i][j] += dot(x[i], phi, width);
    }
  }
}

// Everything between the projection of token t and h_in. Fills h_pre[n].
void mix(const codegen::Problem& problem, const mhcjit_pre_forward_args& args, std::int64_t t, const double* sums,
         double square_sum, float* h_pre) {
  const int n = problem.n;
  // As an fp32 sum, which overflows where that of the kernels does.
  const double mean_square = double{static_cast<float>(square_sum)} / static_cast<double>(problem.columns());
  const auto inv_rms = static_cast<float>(1.0 / std::sqrt(mean_square + args.norm_eps));
  const auto logit = [&](int group, int j) {
    return args.alpha[group] * (static_cast<float>(sums[j]) * inv_rms) + args.bias[j];
  };
  for (int i = 0; i < n; ++i) h_pre[i] = sigmoid(logit(0, i)) + args.hc_eps;
  for (int i = 0; i < n; ++i) args.h_post[t * n + i] = args.post_mult * sigmoid(logit(1, n + i));
  for (int i = 0; i < n * n; ++i) args.h_res[t * n * n + i] = logit(2, 2 * n + i);

  if (args.inv_rms != nullptr) args.inv_rms[t] = inv_rms;
  if (args.h_pre != nullptr) std::copy_n(h_pre, n, args.h_pre + t * n);
  if (args.h_mix != nullptr) {
    for (int j = 0; j < problem.rows(); ++j) args.h_mix[t * problem.rows() + j] = static_cast<float>(sums[j]);
  }
}

void collapse(const codegen::Problem& problem, const mhcjit_pre_forward_args& args, std::int64_t t,
              const float* h_pre) {
  float x[columns_per_chunk];
  for (std::int64_t begin = 0; begin < problem.d; begin += columns_per_chunk) {
    const std::int64_t width = std::min(columns_per_chunk, problem.d - begin);
    float h_in[columns_per_chunk] = {};
    for (int i = 0; i < problem.n; ++i) {
      load(problem.dtype, args.x, (t * problem.n + i) * problem.d + begin, width, x);
      add_scaled(h_pre[i], x, width, h_in);
    }
    store(problem.dtype, h_in, width, args.h_in, t * problem.d + begin);
  }
}

}  // namespace

void pre_forward(const codegen::Problem& problem, const mhcjit_pre_forward_args& args, unsigned threads) {
  parallel_for(blocks_of(args.T, tokens_per_tile), threads, [&](std::int64_t block) {
    const std::int64_t first = block * tokens_per_tile;
    Tile tile{.first = first, .count = std::min(tokens_per_tile, args.T - first)};
    project(problem, args, tile);
    for (std::int64_t i = 0; i < tile.count; ++i) {
      float h_pre[codegen::max_n];
      mix(problem, args, first + i, tile.h_mix[i], tile.square_sum[i], h_pre);
      collapse(problem, args, first + i, h_pre);
    }
  });
}

}  // namespace mhcjit::runtime::cpu
