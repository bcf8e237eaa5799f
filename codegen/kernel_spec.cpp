#include "codegen/kernel_spec.h"

#include <algorithm>
#include <array>

#include "codegen/divide_up.h"
#include "codegen/few_tokens.h"
#include "codegen/one_pass.h"
#include "codegen/portable_forward.h"
#include "codegen/workspace.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

Grid grid(std::int64_t x, std::int64_t y = 1) { return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y)}; }
Grid grid_of_clusters(std::int64_t clusters, int cluster_size) {
  return {static_cast<std::uint32_t>(clusters * cluster_size), 1, static_cast<std::uint32_t>(cluster_size)};
}

constexpr std::array<std::string_view, 4> template_names = {"portable", "two_pass", "one_pass", "few_tokens"};

constexpr int warp_size = 32;
constexpr int float_bytes = 4;

}  // namespace

namespace {

using Constants = std::vector<std::pair<std::string, std::int64_t>>;

void add_main_constants(const KernelSpec& spec, Constants& list) {
  const auto add = [&](std::initializer_list<std::pair<std::string, std::int64_t>> more) {
    list.insert(list.end(), more);
  };
  if (spec.kernel_template == KernelTemplate::one_pass) {
    add({{"threads_per_block", spec.threads_per_block},
         {"cluster_size", spec.cluster_size},
         {"tokens_per_tile", spec.tokens_per_tile},
         {"pipeline_stages", spec.pipeline_stages},
         {"panel_columns", spec.panel_columns},
         {"panels_per_stream", spec.panels_per_stream},
         {"gemm_warps", spec.gemm_warps},
         {"row_groups", spec.row_groups},
         {"apply_warps", spec.apply_warps},
         {"k_steps_per_warp", spec.k_steps_per_warp},
         {"phi_register_operands", spec.phi_register_operands},
         {"gemm_registers", spec.gemm_registers},
         {"apply_registers", spec.apply_registers},
         {"helper_registers", spec.helper_registers}});
    return;
  }
  if (spec.problem.op == Op::pre_forward) {
    add({{"vec_size", spec.vec_size},
         {"threads_per_block", spec.threads_per_block},
         {"tokens_per_warp", spec.tokens_per_warp},
         {"row_tiles", spec.row_tiles},
         {"row_blocks", spec.row_blocks},
         {"in_cluster", spec.cluster_size != 0 ? 1 : 0},
         {"k_splits", spec.k_splits},
         {"columns_per_split", spec.columns_per_split},
         {"columns_per_sum", spec.columns_per_sum},
         {"pack_columns", spec.pack_columns},
         {"uses_wgmma", spec.uses_wgmma},
         {"pipeline_stages", spec.pipeline_stages},
         {"threads_per_token", spec.threads_per_token}});
    return;
  }
  add({{"vec_size", spec.vec_size},
       {"threads_per_block", spec.threads_per_block},
       {"rows_per_thread", spec.rows_per_thread},
       {"row_warps", spec.row_warps},
       {"row_blocks", spec.row_blocks},
       {"threads_per_token", spec.threads_per_token},
       {"padded_rows", spec.padded_rows()},
       {"dx_columns_per_block", spec.dx_columns_per_block},
       {"dx_tokens_per_thread", spec.dx_tokens_per_thread}});
}

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> constants(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  Constants list = {
      {"n", problem.n},
      {"d", problem.d},
      {"rows", problem.rows()},
      {"columns", problem.columns()},
  };
  if (spec.kernel_template != KernelTemplate::few_tokens) add_main_constants(spec, list);
  if (spec.few_max_tokens > 0)
    list.insert(list.end(), {{"few_cluster_size", spec.few_cluster_size},
                             {"few_gemm_warps", spec.few_gemm_warps},
                             {"few_chunks_per_warp", spec.few_chunks_per_warp},
                             {"few_stages", spec.few_stages}});
  return list;
}

std::string to_string(const KernelSpec& spec) {
  std::string text = fmt::format("{}: {}", to_string(spec.problem), to_string(spec.kernel_template));
  for (const auto& [name, value] : constants(spec)) text += fmt::format(" {}={}", name, value);
  if (spec.problem.op == Op::pre_backward)
    text += fmt::format(" max_dx_token_blocks={} max_bias_slots={} max_token_splits={}", spec.max_dx_token_blocks,
                        spec.max_bias_slots, spec.max_token_splits);
  if (spec.kernel_template == KernelTemplate::two_pass)
    text += fmt::format(" cluster_size={} wide_cluster_size={} wide_max_tokens={}", spec.cluster_size,
                        spec.wide_cluster_size, spec.wide_max_tokens);
  if (spec.few_max_tokens > 0) text += fmt::format(" few_max_tokens={}", spec.few_max_tokens);
  return text;
}

std::string_view to_string(KernelTemplate kernel_template) { return template_names[static_cast<int>(kernel_template)]; }

llvm::Expected<KernelTemplate> parse_kernel_template(std::string_view text) {
  for (std::size_t i = 0; i < template_names.size(); ++i)
    if (template_names[i] == text) return static_cast<KernelTemplate>(i);
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "template is '{}', allowed: {}", text,
                    fmt::join(template_names, ", "));
}

namespace {

StagePlan project_stage(const KernelSpec& spec) {
  StagePlan plan = {Stage::project, "pre_forward_project", "PreForwardProject", spec.blocks_per_multiprocessor,
                    project_smem_bytes(spec)};
  if (spec.uses_wgmma != 0) {
    plan.stage = Stage::project_wgmma;
    plan.name = "pre_forward_project_wgmma";
    plan.plan = "PreForwardProjectWgmma";
    plan.threads_per_block = project_wgmma_threads(spec);
    plan.box = {chunk_columns, project_tokens(spec), 1};
  }
  plan.cluster_size = spec.widest_cluster_size();
  plan.overlaps_previous = spec.problem.architecture.major >= 9;
  return plan;
}

// Of the template that the spec names; threads_per_block 0 is the spec's.
std::vector<StagePlan> main_stages(const KernelSpec& spec) {
  const Problem& problem = spec.problem;
  const int warps = spec.threads_per_block / warp_size;
  if (spec.kernel_template == KernelTemplate::one_pass) {
    StagePlan plan = {Stage::one_pass, "pre_forward_one_pass", "PreForwardOnePass", 1, one_pass_smem_bytes(spec)};
    plan.cluster_size = spec.cluster_size;
    plan.is_persistent = true;
    plan.box = {spec.panel_columns, spec.tokens_per_tile, problem.n};
    return {plan};
  }
  if (problem.op == Op::pre_forward) {
    std::vector<StagePlan> list = {
        {Stage::pack_phi, "pre_forward_pack_phi", "PreForwardPackPhi", 4, pack_phi_smem_bytes(spec)},
        project_stage(spec),
    };
    if (spec.kernel_template == KernelTemplate::two_pass) return list;
    // Enough loads of x under way. Of more than eight streams, and of fp32, a thread holds more registers of them.
    const int apply_blocks = problem.n <= 8 && problem.dtype != DType::fp32 ? 4 : 2;
    list.push_back({Stage::apply, "pre_forward_apply", "PreForwardApply", apply_blocks, apply_smem_bytes(spec)});
    list.back().overlaps_previous = problem.architecture.major >= 9;
    return list;
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

StagePlan few_tokens_stage(const KernelSpec& spec) {
  StagePlan plan = {Stage::few_tokens, "pre_forward_few_tokens", "PreForwardFewTokens", 1, few_tokens_smem_bytes(spec)};
  plan.threads_per_block = few_tokens_threads(spec);
  plan.cluster_size = spec.few_cluster_size;
  plan.max_tokens = spec.few_max_tokens;
  return plan;
}

}  // namespace

std::vector<StagePlan> stages(const KernelSpec& spec) {
  if (spec.kernel_template == KernelTemplate::few_tokens) return {few_tokens_stage(spec)};
  std::vector<StagePlan> list = main_stages(spec);
  for (StagePlan& plan : list) {
    if (plan.threads_per_block == 0) plan.threads_per_block = spec.threads_per_block;
    if (spec.few_max_tokens > 0) plan.min_tokens = spec.few_max_tokens + 1;
  }
  if (spec.few_max_tokens > 0) list.push_back(few_tokens_stage(spec));
  return list;
}

Grid grid_of(const KernelSpec& spec, Stage stage, std::int64_t tokens) {
  const Problem& problem = spec.problem;
  const int warps = spec.threads_per_block / warp_size;
  const auto column_warps = [&] { return warps / spec.row_warps; };
  switch (stage) {
    case Stage::pack_phi: return grid(divide_up(packed_columns(spec), spec.pack_columns), packed_rows(spec) / 8);
    case Stage::project:
    case Stage::project_wgmma: {
      const std::int64_t tiles = divide_up(tokens, project_tokens(spec));
      if (spec.cluster_size == 0) return grid(tiles * spec.row_blocks, spec.k_splits);
      return grid_of_clusters(tiles, spec.cluster_size_for(tokens));
    }
    case Stage::few_tokens: return grid_of_clusters(few_tokens_groups(spec, tokens), spec.few_cluster_size);
    case Stage::one_pass: return grid_of_clusters(divide_up(tokens, spec.tokens_per_tile), spec.cluster_size);
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
      return grid(divide_up(problem.columns(), std::int64_t{column_warps()} * warp_size * spec.vec_size),
                  std::int64_t{token_splits(spec, tokens)} * spec.row_blocks);
    case Stage::phi: return grid(divide_up(problem.columns(), std::int64_t{warp_size} * std::min(spec.vec_size, 4)));
    case Stage::bias: return grid(1);
  }
  return {};
}

}  // namespace mhcjit::codegen
