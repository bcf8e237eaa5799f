// Grids and workspace: pure functions of the spec and T, checked against what each kernel covers.
#include "codegen/kernel_spec.h"
#include "codegen/workspace.h"

#include <gtest/gtest.h>

#include "codegen/heuristic.h"

namespace mhcjit::codegen {
namespace {

constexpr std::int64_t token_counts[] = {1, 2, 7, 13, 16, 17, 31, 32, 33, 137, 512, 1023, 8192, 65536, max_tokens};

KernelSpec spec_of(Op op, int n, std::int64_t d) {
  return llvm::cantFail(choose_spec({op, n, d, DType::bf16, true, false, {9, 0, 'a'}}, KernelTemplate::portable));
}

TEST(LaunchPlan, GridOfTheUsualShape) {
  const KernelSpec forward = spec_of(Op::pre_forward, 4, 4096);
  EXPECT_EQ(grid_of(forward, Stage::pack_phi, 8192), (Grid{64, 3}));
  EXPECT_EQ(grid_of(forward, Stage::project_wgmma, 8192), (Grid{64, 2}));
  EXPECT_EQ(grid_of(forward, Stage::apply, 8192), (Grid{8192, 1}));
  const KernelSpec backward = spec_of(Op::pre_backward, 4, 4096);
  EXPECT_EQ(grid_of(backward, Stage::coefficients, 8192), (Grid{1024, 1}));
  EXPECT_EQ(grid_of(backward, Stage::dx, 8192), (Grid{32, 64}));
  EXPECT_EQ(grid_of(backward, Stage::phi_partials, 8192), (Grid{16, 16}));
  EXPECT_EQ(grid_of(backward, Stage::phi, 8192), (Grid{128, 1}));
  EXPECT_EQ(grid_of(backward, Stage::bias, 8192), (Grid{1, 1}));
}

TEST(LaunchPlan, EveryGridStaysWithinTheDriversLimits) {
  for (const Op op : {Op::pre_forward, Op::pre_backward})
    for (const int n : {1, 4, 16})
      for (const std::int64_t d : {std::int64_t{1}, std::int64_t{127}, std::int64_t{7168}, max_d})
        for (const std::int64_t tokens : token_counts) {
          const KernelSpec spec = spec_of(op, n, d);
          for (const StagePlan& stage : stages(spec)) {
            const Grid grid = grid_of(spec, stage.stage, tokens);
            SCOPED_TRACE(to_string(spec) + " " + stage.name);
            EXPECT_GE(grid.x, 1u);
            EXPECT_LE(grid.x, 2147483647u);
            EXPECT_GE(grid.y, 1u);
            EXPECT_LE(grid.y, 65535u);
          }
        }
}

TEST(LaunchPlan, TokenSplitsCoverEveryTokenAndNoneIsEmpty) {
  const KernelSpec spec = spec_of(Op::pre_backward, 4, 4096);
  for (const std::int64_t tokens : token_counts) {
    const std::int64_t per_split = tokens_per_split(spec, tokens);
    const std::int64_t splits = token_splits(spec, tokens);
    EXPECT_GE(splits * per_split, tokens);
    EXPECT_LT((splits - 1) * per_split, tokens);
    EXPECT_LE(splits, spec.max_token_splits);
  }
}

TEST(Workspace, RegionsAreAlignedApartAndInside) {
  const KernelSpec spec = spec_of(Op::pre_backward, 3, 127);
  const Problem& problem = spec.problem;
  for (const std::int64_t tokens : token_counts) {
    const PreBackwardWorkspace workspace = pre_backward_workspace(spec, tokens);
    for (const std::size_t offset :
         {workspace.dh_mix, workspace.x_coefficient, workspace.bias_partials, workspace.phi_partials})
      EXPECT_EQ(offset % 16, 0u);
    const auto count = static_cast<std::size_t>(tokens);
    EXPECT_GE(workspace.x_coefficient - workspace.dh_mix, count * spec.padded_rows() * 4);
    EXPECT_GE(workspace.bias_partials - workspace.x_coefficient, count * 4);
    EXPECT_GE(workspace.phi_partials - workspace.bias_partials,
              static_cast<std::size_t>(bias_slots(spec, tokens)) * 2 * problem.rows() * 4);
    EXPECT_GE(workspace.total_bytes - workspace.phi_partials,
              static_cast<std::size_t>(token_splits(spec, tokens)) * problem.rows() * problem.columns() * 4);
  }
}

TEST(Workspace, NeverShrinksAsTGrows) {
  for (const Op op : {Op::pre_forward, Op::pre_backward}) {
    const KernelSpec spec = spec_of(op, 4, 256);
    std::size_t previous = workspace_bytes(spec, 0);
    EXPECT_EQ(previous, 0u);
    for (std::int64_t tokens = 1; tokens < 3000; ++tokens) {
      const std::size_t bytes = workspace_bytes(spec, tokens);
      EXPECT_GE(bytes, previous) << tokens;
      previous = bytes;
    }
  }
}

TEST(Workspace, HoldsNoCopyOfX) {
  const std::int64_t tokens = 8192;
  const std::size_t x_floats_bytes = std::size_t{8192} * 4 * 4096 * 4;
  EXPECT_LT(workspace_bytes(spec_of(Op::pre_forward, 4, 4096), tokens), x_floats_bytes / 50);
  EXPECT_LT(workspace_bytes(spec_of(Op::pre_backward, 4, 4096), tokens), x_floats_bytes / 10);
}

}  // namespace
}  // namespace mhcjit::codegen
