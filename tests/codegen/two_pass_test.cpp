// The two-pass template's candidates: every problem of 16-bit x has one on every architecture, every legal one fits the
// device, every rejection has a reason, and nobody gets one who did not ask for it.
#include "codegen/two_pass.h"

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

KernelSpec spec_of(const Problem& problem) { return llvm::cantFail(choose_spec(problem, KernelTemplate::two_pass)); }

TEST(TwoPass, EveryProblemOf16BitXHasASpecOnEveryArchitecture) {
  for (const Architecture& architecture : {Architecture{8, 0, 0}, {8, 6, 0}, {8, 9, 0}, {9, 0, 'a'}, {12, 0, 'a'}})
    for (int n = 1; n <= max_n; ++n)
      for (const std::int64_t d : {std::int64_t{1}, std::int64_t{127}, std::int64_t{2560}, max_d})
        for (const DType dtype : {DType::bf16, DType::fp16})
          for (const bool has_gamma : {false, true}) {
            Problem problem = problem_of(n, d, dtype, has_gamma);
            problem.architecture = architecture;
            auto spec = choose_spec(problem, KernelTemplate::two_pass);
            EXPECT_TRUE(static_cast<bool>(spec)) << to_string(problem);
          }
}

TEST(TwoPass, LegalSpecsFitTheDeviceAndCoverTheProblem) {
  for (int n = 1; n <= max_n; ++n) {
    for (const std::int64_t d : {std::int64_t{1}, std::int64_t{200}, std::int64_t{4096}, std::int64_t{5129}, max_d}) {
      for (const Candidate& candidate : two_pass_candidates(problem_of(n, d))) {
        if (!candidate.legal()) continue;
        const KernelSpec& spec = candidate.spec;
        SCOPED_TRACE(to_string(spec));
        EXPECT_LE(two_pass_smem_bytes(spec), 227 * 1024);
        EXPECT_GE(spec.row_tiles * 8 * spec.row_blocks, spec.problem.rows());
        EXPECT_LT(spec.row_tiles * 8 * (spec.row_blocks - 1), spec.problem.rows());
        EXPECT_EQ(spec.columns_per_split % 64, 0);
        EXPECT_GE(std::int64_t{spec.k_splits} * spec.columns_per_split, spec.problem.columns());
        EXPECT_LT(std::int64_t{spec.k_splits - 1} * spec.columns_per_split, spec.problem.columns());
        EXPECT_GT(two_pass_cost(spec), 1.0);
      }
    }
  }
}

TEST(TwoPass, RefusesWithTheReason) {
  const auto refusal = [](const Problem& problem) {
    auto spec = choose_spec(problem, KernelTemplate::two_pass);
    EXPECT_FALSE(static_cast<bool>(spec));
    return take_failure(spec.takeError()).text;
  };
  EXPECT_EQ(refusal(problem_of(4, 4096, DType::fp32)),
            "pre_forward n=4 D=4096 fp32 gamma sm_90a: no kernel of template two_pass fits: x in fp32 has no exact "
            "product on the tensor cores");
  Problem backward = problem_of(4, 4096);
  backward.op = Op::pre_backward;
  EXPECT_EQ(refusal(backward),
            "pre_backward n=4 D=4096 bf16 gamma sm_90a: no kernel of template two_pass fits: it is a template of "
            "pre_forward");
  std::set<std::string> reasons;
  for (const Candidate& candidate : two_pass_candidates(problem_of(8, 2048))) reasons.insert(candidate.rejected);
  EXPECT_TRUE(
      reasons.contains("32 tokens by 80 rows need 255 registers a thread, 2 blocks a multiprocessor leave 128"));
}

TEST(TwoPass, TakesTheCheapestCandidate) {
  const KernelSpec spec = spec_of(problem_of(8, 2048));
  EXPECT_EQ(spec.kernel_template, KernelTemplate::two_pass);
  for (const Candidate& candidate : two_pass_candidates(problem_of(8, 2048)))
    if (candidate.legal()) {
      EXPECT_LE(estimated_cost(spec), estimated_cost(candidate.spec));
    }
}

// The largest tile of tokens that registers hold: each reads phi anew.
TEST(TwoPass, KeepsAllRowsOfEightStreamsInOneBlock) {
  const KernelSpec spec = spec_of(problem_of(8, 2048));
  EXPECT_EQ(spec.tokens_per_warp, 32);
  EXPECT_EQ(spec.row_tiles, 10);
  EXPECT_EQ(spec.row_blocks, 1);
  EXPECT_EQ(spec.k_splits, 4);
}

TEST(TwoPass, LaunchesTheProductsAndThenApply) {
  const KernelSpec spec = spec_of(problem_of(16, 2048));
  const std::vector<StagePlan> plans = stages(spec);
  ASSERT_EQ(plans.size(), 2u);
  EXPECT_EQ(plans[0].stage, Stage::project_mma);
  EXPECT_EQ(plans[1].stage, Stage::apply);
  EXPECT_GT(spec.row_blocks, 1);
  const int tokens_per_block = 8 * spec.tokens_per_warp;
  EXPECT_EQ(grid_of(spec, Stage::project_mma, 3 * tokens_per_block + 1),
            (Grid{static_cast<std::uint32_t>(4 * spec.row_blocks), static_cast<std::uint32_t>(spec.k_splits)}));
  EXPECT_EQ(pre_forward_workspace(spec, 10).total_bytes, (10u * spec.k_splits * 289 * 4 + 15) / 16 * 16);
}

}  // namespace
}  // namespace mhcjit::codegen
