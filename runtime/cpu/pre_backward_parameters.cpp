#include <algorithm>

#include "runtime/cpu/elements.h"
#include "runtime/cpu/pre_backward_gradients.h"
#include "runtime/cpu/tiling.h"
#include "support/threads.h"

namespace mhcjit::runtime::cpu {
namespace {

// One block of G = sum_t dh_mix^T . X, [rows_per_block, columns_per_block]: the sum over a few tokens in fp32, the sum
// of those in double, so that the error does not grow with T.
constexpr int rows_per_block = 16;
constexpr std::int64_t columns_per_block = 128;
constexpr std::int64_t tokens_per_partial = 32;

struct Block {
  std::int64_t column;
  std::int64_t width;
  double g[rows_per_block][columns_per_block];
};

void add_tokens(const Backward& backward, int row, int rows, std::int64_t first, std::int64_t count, Block& block) {
  const codegen::Problem& problem = backward.problem;
  float x[tokens_per_partial][columns_per_block];
  for (std::int64_t i = 0; i < count; ++i) {
    load(problem.dtype, backward.args.x, (first + i) * problem.columns() + block.column, block.width, x[i]);
  }
  for (int j = 0; j < rows; ++j) {
    float partial[columns_per_block] = {};
    for (std::int64_t i = 0; i < count; ++i) {
      add_scaled(backward.dh_mix(first + i, row + j), x[i], block.width, partial);
    }
    for (std::int64_t k = 0; k < block.width; ++k) block.g[j][k] += partial[k];
  }
}

// To a gradient that may not be wanted: `out` null.
void write(bool accumulate, const double* values, std::int64_t count, float* out) {
  if (out == nullptr) return;
  for (std::int64_t k = 0; k < count; ++k) {
    out[k] = static_cast<float>(accumulate ? double{out[k]} + values[k] : values[k]);
  }
}

// dphi = G * gamma and dgamma[k] = sum_j phi[j, k] * G[j, k]: gamma is a factor of whole columns, so that both come
// from one pass over x for each block of rows.
void weight_gradients(const Backward& backward, std::int64_t column) {
  const codegen::Problem& problem = backward.problem;
  const mhcjit_pre_backward_args& args = backward.args;
  const bool accumulate = args.accumulate_parameters != 0;
  Block block{.column = column, .width = std::min(columns_per_block, problem.columns() - column), .g = {}};
  double dgamma[columns_per_block] = {};
  for (int row = 0; row < problem.rows(); row += rows_per_block) {
    const int rows = std::min(rows_per_block, problem.rows() - row);
    for (auto& sums : block.g) std::fill_n(sums, columns_per_block, 0.0);
    for (std::int64_t first = 0; first < args.T; first += tokens_per_partial) {
      add_tokens(backward, row, rows, first, std::min(tokens_per_partial, args.T - first), block);
    }
    for (int j = 0; j < rows; ++j) {
      const std::int64_t offset = (row + j) * problem.columns() + column;
      double* g = block.g[j];
      for (std::int64_t k = 0; k < block.width; ++k) dgamma[k] += args.phi[offset + k] * g[k];
      if (problem.has_gamma) {
        for (std::int64_t k = 0; k < block.width; ++k) g[k] *= args.gamma[column + k];
      }
      write(accumulate, g, block.width, args.dphi == nullptr ? nullptr : args.dphi + offset);
    }
  }
  write(accumulate, dgamma, block.width, args.dgamma == nullptr ? nullptr : args.dgamma + column);
}

void scale_and_bias_gradients(const Backward& backward) {
  const mhcjit_pre_backward_args& args = backward.args;
  const int rows = backward.problem.rows();
  double dalpha[3] = {};
  double dbias[max_rows] = {};
  for (std::int64_t t = 0; t < args.T; ++t) {
    const float* at_logits = backward.at_logits(t);
    for (int j = 0; j < rows; ++j) {
      dbias[j] += at_logits[j];
      dalpha[backward.group_of_row(j)] += double{at_logits[j]} * args.h_mix[t * rows + j] * args.inv_rms[t];
    }
  }
  const bool accumulate = args.accumulate_parameters != 0;
  write(accumulate, dalpha, 3, args.dalpha);
  write(accumulate, dbias, rows, args.dbias);
}

// An empty sum is zero, whatever gamma is; added to a gradient it changes nothing.
void write_empty_sums(const codegen::Problem& problem, const mhcjit_pre_backward_args& args) {
  if (args.accumulate_parameters != 0) return;
  if (args.dphi != nullptr) std::fill_n(args.dphi, problem.rows() * problem.columns(), 0.0f);
  if (args.dgamma != nullptr) std::fill_n(args.dgamma, problem.columns(), 0.0f);
  if (args.dalpha != nullptr) std::fill_n(args.dalpha, 3, 0.0f);
  if (args.dbias != nullptr) std::fill_n(args.dbias, problem.rows(), 0.0f);
}

}  // namespace

void parameter_gradients(const Backward& backward, unsigned threads) {
  const mhcjit_pre_backward_args& args = backward.args;
  if (args.T == 0) return write_empty_sums(backward.problem, args);
  const bool wants_weights = args.dphi != nullptr || args.dgamma != nullptr;
  const std::int64_t blocks = wants_weights ? blocks_of(backward.problem.columns(), columns_per_block) : 0;
  // The last item is the small gradients.
  parallel_for(blocks + 1, threads, [&](std::int64_t block) {
    if (block < blocks) {
      weight_gradients(backward, block * columns_per_block);
    } else {
      scale_and_bias_gradients(backward);
    }
  });
}

}  // namespace mhcjit::runtime::cpu
