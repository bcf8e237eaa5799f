// The portable template of pre_forward: every problem has a spec on every architecture, every legal one fits the
// device, every rejection has a reason.
#include "codegen/portable_forward.h"

#include <set>

#include <gtest/gtest.h>

#include "codegen/heuristic.h"
#include "codegen/workspace.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

Problem problem_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true) {
  return {Op::pre_forward, n, d, dtype, has_gamma, false, {9, 0, 'a'}};
}

KernelSpec spec_of(const Problem& problem) { return llvm::cantFail(choose_spec(problem, KernelTemplate::portable)); }

TEST(PortableForward, EveryProblemHasASpecOnEveryArchitecture) {
  for (const Architecture& architecture : {Architecture{8, 0, 0}, {8, 6, 0}, {8, 9, 0}, {9, 0, 'a'}, {12, 0, 'a'}})
    for (int n = 1; n <= max_n; ++n)
      for (const std::int64_t d : {std::int64_t{1}, std::int64_t{127}, std::int64_t{2560}, max_d})
        for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
          Problem problem = problem_of(n, d, dtype);
          problem.architecture = architecture;
          auto spec = choose_spec(problem, KernelTemplate::portable);
          EXPECT_TRUE(static_cast<bool>(spec)) << to_string(problem);
        }
}

TEST(PortableForward, LegalSpecsFitTheDeviceAndCoverTheProblem) {
  for (int n = 1; n <= max_n; ++n) {
    for (const std::int64_t d : {std::int64_t{1}, std::int64_t{200}, std::int64_t{4096}, std::int64_t{5129}, max_d}) {
      for (const DType dtype : {DType::bf16, DType::fp32}) {
        for (const Candidate& candidate : portable_forward_candidates(problem_of(n, d, dtype))) {
          if (!candidate.legal()) continue;
          const KernelSpec& spec = candidate.spec;
          SCOPED_TRACE(to_string(spec));
          EXPECT_LE(project_smem_bytes(spec), 227 * 1024);
          EXPECT_LE((project_smem_bytes(spec) + 1024) * spec.blocks_per_multiprocessor, 228 * 1024);
          EXPECT_GE(spec.pipeline_stages, 2);
          EXPECT_GE(packed_rows(spec), spec.problem.rows());
          EXPECT_LT(spec.row_tiles * 8 * (spec.row_blocks - 1), spec.problem.rows());
          EXPECT_EQ(spec.columns_per_split % 64, 0);
          EXPECT_EQ(spec.pack_columns % 64, 0);
          EXPECT_GE(packed_columns(spec), spec.problem.columns());
          EXPECT_GE(std::int64_t{spec.k_splits} * spec.columns_per_split, packed_columns(spec));
          EXPECT_LT(std::int64_t{spec.k_splits - 1} * spec.columns_per_split, packed_columns(spec));
          EXPECT_GT(portable_forward_cost(spec), 1.0);
        }
      }
    }
  }
}

TEST(PortableForward, RejectsWithTheReason) {
  std::set<std::string> reasons;
  for (const Candidate& candidate : portable_forward_candidates(problem_of(8, 2048)))
    reasons.insert(candidate.rejected);
  EXPECT_TRUE(
      reasons.contains("32 tokens by 80 rows need 218 registers a thread, 2 blocks a multiprocessor leave 128"));
  EXPECT_TRUE(reasons.contains("7 blocks of 16 rows leave the last without any of 80"));
  for (const Candidate& candidate : portable_forward_candidates(problem_of(4, 127))) reasons.insert(candidate.rejected);
  EXPECT_TRUE(reasons.contains("D is 127, tensor maps need a multiple of 8"));
  for (const Candidate& candidate : portable_forward_candidates(problem_of(4, 128, DType::fp32)))
    reasons.insert(candidate.rejected);
  EXPECT_TRUE(reasons.contains("x in fp32 becomes two terms, which warp groups do not make"));
  Problem small_device = problem_of(4, 4096, DType::fp32);
  small_device.architecture = {8, 6, 0};
  for (const Candidate& candidate : portable_forward_candidates(small_device)) reasons.insert(candidate.rejected);
  EXPECT_TRUE(reasons.contains("1 blocks of 144384 bytes of shared memory, a multiprocessor of sm_86 has 102400"));
  EXPECT_TRUE(reasons.contains("products of warp groups need sm_90a, not sm_86"));
}

// The largest tile of tokens that registers hold: each reads phi anew.
TEST(PortableForward, KeepsAllRowsOfEightStreamsInOneBlock) {
  Problem problem = problem_of(8, 2048);
  problem.architecture = {10, 0, 'a'};
  const KernelSpec spec = spec_of(problem);
  EXPECT_EQ(spec.tokens_per_warp, 32);
  EXPECT_EQ(spec.row_tiles, 10);
  EXPECT_EQ(spec.row_blocks, 1);
  EXPECT_EQ(spec.k_splits, 4);
  EXPECT_EQ(spec.pipeline_stages, 4);
}

// Where the device has them: with as many rows of phi as a warp's registers hold.
TEST(PortableForward, MultipliesByWarpGroups) {
  const KernelSpec spec = spec_of(problem_of(8, 2048));
  EXPECT_EQ(spec.uses_wgmma, 1);
  EXPECT_EQ(spec.row_tiles, 10);
  EXPECT_EQ(spec.row_blocks, 1);
  EXPECT_EQ(spec.k_splits, 2);
  EXPECT_EQ(spec.columns_per_split, 8192);
  EXPECT_EQ(spec.columns_per_sum, 2048);
  const StagePlan plan = stages(spec)[1];
  EXPECT_EQ(plan.stage, Stage::project_wgmma);
  EXPECT_EQ(plan.entry(), "mhcjit_pre_forward_project_wgmma");
  EXPECT_EQ(plan.threads_per_block, 384);
  EXPECT_EQ(plan.box, (TensorBox{64, 128, 1}));
  EXPECT_EQ(grid_of(spec, Stage::project_wgmma, 129), (Grid{2, 2}));
  // Each stream has chunks of its own, the last of which ends beyond D.
  EXPECT_EQ(packed_columns(spec_of(problem_of(8, 72))), 8 * 128);
  for (const Problem& problem : {problem_of(8, 127), problem_of(8, 2048, DType::fp32)})
    EXPECT_EQ(spec_of(problem).uses_wgmma, 0);
}

TEST(PortableForward, PacksPhiThenMultipliesThenApplies) {
  Problem problem = problem_of(16, 2048);
  problem.architecture = {10, 0, 'a'};
  const KernelSpec spec = spec_of(problem);
  const std::vector<StagePlan> plans = stages(spec);
  ASSERT_EQ(plans.size(), 3u);
  EXPECT_EQ(plans[0].stage, Stage::pack_phi);
  EXPECT_EQ(plans[1].stage, Stage::project);
  EXPECT_EQ(plans[2].stage, Stage::apply);
  EXPECT_FALSE(plans[0].overlaps_previous);
  EXPECT_TRUE(plans[1].overlaps_previous);
  EXPECT_TRUE(plans[2].overlaps_previous);
  EXPECT_GT(spec.row_blocks, 1);
  const int tokens_per_block = 8 * spec.tokens_per_warp;
  EXPECT_EQ(grid_of(spec, Stage::project, 3 * tokens_per_block + 1),
            (Grid{static_cast<std::uint32_t>(4 * spec.row_blocks), static_cast<std::uint32_t>(spec.k_splits)}));
  // phi is packed once, whatever T.
  EXPECT_EQ(grid_of(spec, Stage::pack_phi, 1),
            (Grid{16 * 2048 / 256, static_cast<std::uint32_t>(packed_rows(spec) / 8)}));
  EXPECT_EQ(grid_of(spec, Stage::pack_phi, 1), grid_of(spec, Stage::pack_phi, max_tokens));
}

TEST(PortableForward, OverlapsKernelsOnlyWhereDevicesCan) {
  Problem problem = problem_of(4, 4096);
  problem.architecture = {8, 0, 0};
  for (const StagePlan& plan : stages(spec_of(problem))) EXPECT_FALSE(plan.overlaps_previous) << plan.name;
}

TEST(PortableForward, WorkspaceHoldsPartialSumsAndPackedPhi) {
  const KernelSpec bf16 = spec_of(problem_of(8, 2048));
  const PreForwardWorkspace workspace = pre_forward_workspace(bf16, 10);
  const std::size_t partial_bytes = (10u * bf16.k_splits * 81 * 4 + 15) / 16 * 16;
  EXPECT_EQ(workspace.packed_phi, partial_bytes);
  EXPECT_EQ(workspace.total_bytes, partial_bytes + std::size_t{80} * 8 * 2048 * 4);
  // fp16 has a factor for each row and range of columns that are summed together.
  const KernelSpec fp16 = spec_of(problem_of(8, 2048, DType::fp16));
  EXPECT_EQ(pre_forward_workspace(fp16, 10).total_bytes - pre_forward_workspace(fp16, 10).phi_factors,
            std::size_t{80} * (8 * 2048 / fp16.columns_per_sum) * 4);
  EXPECT_EQ(fp16.pack_columns, fp16.columns_per_sum);
  EXPECT_EQ(pre_forward_workspace(bf16, 0).total_bytes, 0u);
}

}  // namespace
}  // namespace mhcjit::codegen
