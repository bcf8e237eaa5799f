#include "codegen/kernel_spec.h"

#include <algorithm>

#include "codegen/workspace.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

Grid grid(std::int64_t x, std::int64_t y = 1) { return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y)}; }

constexpr int warp_size = 32;
constexpr int float_bytes = 4;
// Columns of a tile of phi in project: 32 lanes of 8 columns.
constexpr int project_chunk_columns = 256;

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> constants(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  std::vector<std::pair<std::string, std::int64_t>> list = {
      {"n", problem.n},
      {"d", problem.d},
      {"rows", problem.rows()},
      {"columns", problem.columns()},
      {"vec_size", spec.vec_size},
      {"threads_per_block", spec.threads_per_block},
      {"rows_per_thread", spec.rows_per_thread},
      {"row_warps", spec.row_warps},
      {"row_blocks", spec.row_blocks},
      {"threads_per_token", spec.threads_per_token},
  };
  if (problem.op == Op::pre_forward) {
    list.insert(list.end(), {{"tokens_per_warp", spec.tokens_per_warp},
                             {"k_splits", spec.k_splits},
                             {"columns_per_split", spec.columns_per_split}});
  } else {
    list.insert(list.end(), {{"padded_rows", spec.padded_rows()},
                             {"dx_columns_per_block", spec.dx_columns_per_block},
                             {"dx_tokens_per_thread", spec.dx_tokens_per_thread}});
  }
  return list;
}

std::string to_string(const KernelSpec& spec) {
  std::string text = to_string(spec.problem) + ": portable";
  for (const auto& [name, value] : constants(spec)) text += fmt::format(" {}={}", name, value);
  if (spec.problem.op == Op::pre_backward)
    text += fmt::format(" max_dx_token_blocks={} max_bias_slots={} max_token_splits={}", spec.max_dx_token_blocks,
                        spec.max_bias_slots, spec.max_token_splits);
  return text;
}

std::vector<StagePlan> stages(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  const int warps = spec.threads_per_block / warp_size;
  if (problem.op == Op::pre_forward) {
    return {
        {Stage::project, "pre_forward_project", "PreForwardProject", 1,
         spec.rows_per_block() * project_chunk_columns * float_bytes},
        {Stage::apply, "pre_forward_apply", "PreForwardApply", 2,
         spec.tokens_per_group_block() * (problem.rows() + 1 + problem.n) * float_bytes},
    };
  }
  const int phi_columns_per_block = warp_size * std::min(spec.vec_size, 4);
  return {
      {Stage::coefficients, "pre_backward_coefficients", "PreBackwardCoefficients", 2, warps * problem.n * float_bytes},
      {Stage::dx, "pre_backward_dx", "PreBackwardDx", 1,
       static_cast<int>(divide_up(problem.rows(), 4)) * 4 * spec.dx_columns_per_block * float_bytes},
      {Stage::phi_partials, "pre_backward_phi_partials", "PreBackwardPhiPartials", 1, 0},
      {Stage::phi, "pre_backward_phi", "PreBackwardPhi", 2,
       problem.has_gamma ? warps * phi_columns_per_block * float_bytes : 0},
      {Stage::bias, "pre_backward_bias", "PreBackwardBias", 1, problem.rows() * float_bytes},
  };
}

Grid grid_of(const KernelSpec& spec, Stage stage, std::int64_t tokens) {
  const Problem& problem = spec.problem;
  const int warps = spec.threads_per_block / warp_size;
  const int column_warps = warps / spec.row_warps;
  switch (stage) {
    case Stage::project:
      return grid(divide_up(tokens, std::int64_t{column_warps} * spec.tokens_per_warp),
                  spec.k_splits * spec.row_blocks);
    case Stage::apply: return grid(divide_up(tokens, spec.tokens_per_group_block()));
    case Stage::coefficients: return grid(bias_slots(spec, tokens) / spec.tokens_per_group_block());
    case Stage::dx: {
      const int column_threads = spec.dx_columns_per_block / spec.vec_size;
      const std::int64_t tokens_per_block =
          std::int64_t{spec.threads_per_block / column_threads} * spec.dx_tokens_per_thread;
      return grid(divide_up(problem.columns(), spec.dx_columns_per_block),
                  std::min<std::int64_t>(divide_up(tokens, tokens_per_block), spec.max_dx_token_blocks));
    }
    case Stage::phi_partials:
      return grid(divide_up(problem.columns(), std::int64_t{column_warps} * warp_size * spec.vec_size),
                  std::int64_t{token_splits(spec, tokens)} * spec.row_blocks);
    case Stage::phi: return grid(divide_up(problem.columns(), warp_size * std::min(spec.vec_size, 4)));
    case Stage::bias: return grid(1);
  }
  return {};
}

}  // namespace mhcjit::codegen
