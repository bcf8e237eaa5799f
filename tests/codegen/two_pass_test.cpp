// The template of two passes: its specs fit the device and cover the problem, its clusters widen where tokens are few.
#include <set>

#include <gtest/gtest.h>

#include "codegen/heuristic.h"
#include "codegen/portable_forward.h"
#include "codegen/workspace.h"

namespace mhcjit::codegen {
namespace {

Problem problem_of(int n, std::int64_t d, DType dtype = DType::bf16) {
  return {Op::pre_forward, n, d, dtype, true, false, {9, 0, 'a'}};
}

KernelSpec spec_of(const Problem& problem) { return llvm::cantFail(choose_spec(problem, KernelTemplate::two_pass)); }

TEST(TwoPass, LegalSpecsFitTheDeviceAndCoverTheProblem) {
  for (int n = 1; n <= max_n; ++n) {
    for (const std::int64_t d : {std::int64_t{4}, std::int64_t{127}, std::int64_t{2048}, std::int64_t{4100}}) {
      for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
        for (const Candidate& candidate : two_pass_candidates(problem_of(n, d, dtype))) {
          if (!candidate.legal()) continue;
          const KernelSpec& spec = candidate.spec;
          SCOPED_TRACE(to_string(spec));
          EXPECT_LE((project_smem_bytes(spec) + 1024) * spec.blocks_per_multiprocessor, 228 * 1024);
          EXPECT_EQ(spec.k_splits * spec.row_blocks, spec.cluster_size);
          EXPECT_LE(std::max(spec.cluster_size, spec.wide_cluster_size), 16);
          EXPECT_EQ(spec.wide_cluster_size % spec.row_blocks, 0);
          EXPECT_LT(std::int64_t{spec.k_splits - 1} * spec.columns_per_split, packed_columns(spec));
          EXPECT_GE(std::int64_t{spec.k_splits} * spec.columns_per_split, packed_columns(spec));
          EXPECT_EQ(spec.columns_per_split % spec.columns_per_sum, 0);
          EXPECT_LE(spec.columns_per_sum, spec.uses_wgmma != 0 ? 2048 : 8192);
          EXPECT_GT(portable_forward_cost(spec), 1.0);
        }
      }
    }
  }
}

TEST(TwoPass, RejectsWithTheReason) {
  std::set<std::string> reasons;
  const auto add = [&](const Problem& problem) {
    for (const Candidate& candidate : two_pass_candidates(problem)) reasons.insert(candidate.rejected);
  };
  Problem old = problem_of(4, 4096);
  old.architecture = {8, 0, 0};
  add(old);
  add(problem_of(1, 60));
  add(problem_of(8, 4096, DType::fp32));
  Problem backward = problem_of(4, 4096);
  backward.op = Op::pre_backward;
  add(backward);
  EXPECT_TRUE(reasons.contains("it needs clusters: sm_90, sm_100 and sm_103, not sm_80"));
  EXPECT_TRUE(reasons.contains("60 columns are too few for 2 ranges of whole chunks"));
  EXPECT_TRUE(reasons.contains("16384 columns are too many for one sum, allowed: up to 8192"));
  EXPECT_TRUE(reasons.contains("it is a template of pre_forward"));
}

TEST(TwoPass, LaunchesWiderClustersForFewTokens) {
  const KernelSpec spec = spec_of(problem_of(8, 2048));
  EXPECT_EQ(spec.cluster_size, 2);
  EXPECT_EQ(spec.wide_cluster_size, 8);
  const std::vector<StagePlan> plans = stages(spec);
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(plans[0].cluster_size, 0);
  EXPECT_EQ(plans[1].cluster_size, 8);
  const std::int64_t most = spec.wide_max_tokens;
  EXPECT_EQ(grid_of(spec, Stage::project_wgmma, 129), (Grid{2 * 8, 1, 8}));
  EXPECT_EQ(grid_of(spec, Stage::project_wgmma, most).cluster_size, 8u);
  EXPECT_EQ(grid_of(spec, Stage::project_wgmma, most + 1).cluster_size, 2u);
  EXPECT_EQ(grid_of(spec, Stage::project_wgmma, 8192), (Grid{64 * 2, 1, 2}));
}

// A row's sums are added in another order when more blocks share them out; and phi in fp16 of single warps has scales
// for the ranges that it was packed for.
TEST(TwoPass, HasOneClusterSizeWhereBitsOrScalesDependOnIt) {
  Problem invariant = problem_of(8, 2048);
  invariant.batch_invariant = true;
  EXPECT_EQ(spec_of(invariant).wide_cluster_size, 0);
  EXPECT_EQ(grid_of(spec_of(invariant), Stage::project_wgmma, 1).cluster_size, 2u);
  for (const Candidate& candidate : two_pass_candidates(problem_of(4, 4100, DType::fp16)))
    EXPECT_TRUE(candidate.spec.uses_wgmma != 0 || candidate.spec.wide_cluster_size == 0) << to_string(candidate.spec);
}

TEST(TwoPass, NeedsNoWorkspaceForPartialSums) {
  const KernelSpec spec = spec_of(problem_of(8, 2048));
  EXPECT_EQ(workspace_bytes(spec, 1), workspace_bytes(spec, 1 << 20));
  EXPECT_EQ(workspace_bytes(spec, 1), 4u * 80 * 8 * 2048);
}

TEST(TwoPass, ServesWhatFitsNoSinglePass) {
  for (const Problem& problem : {problem_of(8, 2048), problem_of(8, 2048, DType::fp32), problem_of(4, 4100)}) {
    const KernelSpec spec = llvm::cantFail(choose_spec(problem));
    EXPECT_EQ(spec.kernel_template, KernelTemplate::two_pass) << to_string(spec);
    EXPECT_GT(spec.few_max_tokens, 0) << to_string(spec);
  }
}

}  // namespace
}  // namespace mhcjit::codegen
