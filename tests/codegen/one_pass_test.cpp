// The one-pass template's candidates: the shapes that models use have one, every legal one fits the device, every
// rejection has a reason, and nobody gets one who did not ask for it.
#include "codegen/one_pass.h"

#include <set>

#include <gtest/gtest.h>

#include "codegen/heuristic.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

Problem problem_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true) {
  return {Op::pre_forward, n, d, dtype, has_gamma, false, {9, 0, 'a'}};
}

std::string refusal(const Problem& problem) {
  auto spec = choose_spec(problem, KernelTemplate::one_pass);
  if (spec) return "accepted";
  const Failure failure = take_failure(spec.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
  return failure.text;
}

TEST(OnePass, ShapesOfModelsHaveASpec) {
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168})
    for (const DType dtype : {DType::bf16, DType::fp16})
      for (const bool has_gamma : {false, true})
        EXPECT_EQ(refusal(problem_of(4, d, dtype, has_gamma)), "accepted") << d;
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120})
    EXPECT_EQ(refusal(problem_of(4, d, DType::fp32)), "accepted") << d;
  EXPECT_EQ(refusal(problem_of(2, 4096)), "accepted");
  EXPECT_EQ(refusal(problem_of(6, 2560)), "accepted");
}

TEST(OnePass, LegalSpecsFitTheDeviceAndCoverTheProblem) {
  int legal = 0;
  for (const int n : {1, 2, 3, 4, 6, 8}) {
    for (const std::int64_t d : {8, 64, 200, 1920, 4096, 8000}) {
      std::vector<Candidate> all = one_pass_candidates(problem_of(n, d));
      for (Candidate& candidate : one_pass_candidates(problem_of(n, d, DType::fp32)))
        all.push_back(std::move(candidate));
      for (const Candidate& candidate : all) {
        if (!candidate.legal()) continue;
        ++legal;
        const KernelSpec& spec = candidate.spec;
        SCOPED_TRACE(to_string(spec));
        EXPECT_LE(one_pass_smem_bytes(spec), 227 * 1024);
        EXPECT_LE(spec.threads_per_block, 1024);
        const int registers =
            spec.gemm_warps * spec.gemm_registers + spec.apply_warps * spec.apply_registers + 4 * spec.helper_registers;
        const int at_launch = 65536 / spec.threads_per_block / 8 * 8;
        EXPECT_LE(registers * 32, at_launch * spec.threads_per_block) << "raising registers would wait for ever";
        // A warp group moves registers together.
        if (spec.gemm_registers != spec.apply_registers) {
          EXPECT_EQ(spec.gemm_warps % 4, 0);
        }
        EXPECT_EQ((spec.gemm_warps + spec.apply_warps) % 4, 0);
        const std::int64_t slice = std::int64_t{spec.panels_per_stream} * spec.panel_columns;
        EXPECT_EQ(std::int64_t{spec.gemm_warps / spec.row_groups} * spec.k_steps_per_warp * 16, slice * n);
        EXPECT_GE(spec.cluster_size * slice, d);
        EXPECT_LT((spec.cluster_size - 1) * slice, d);
        EXPECT_GE(one_pass_cost(spec), 1.0);
      }
    }
  }
  EXPECT_GT(legal, 500);
}

TEST(OnePass, RefusesWithTheReason) {
  EXPECT_EQ(
      refusal(problem_of(4, 5129)),
      "pre_forward n=4 D=5129 bf16 gamma sm_90a: no kernel of template one_pass fits: D is 5129, tensor maps need "
      "a multiple of 8");
  EXPECT_EQ(
      refusal(problem_of(4, 5130, DType::fp32)),
      "pre_forward n=4 D=5130 fp32 gamma sm_90a: no kernel of template one_pass fits: D is 5130, tensor maps need "
      "a multiple of 4");
  Problem older = problem_of(4, 4096);
  older.architecture = {8, 0, 0};
  EXPECT_EQ(refusal(older),
            "pre_forward n=4 D=4096 bf16 gamma sm_80: no kernel of template one_pass fits: it needs clusters and "
            "registers that move between warps: sm_90a, sm_100a and sm_103a, not sm_80");
  Problem backward = problem_of(4, 4096);
  backward.op = Op::pre_backward;
  EXPECT_EQ(refusal(backward),
            "pre_backward n=4 D=4096 bf16 gamma sm_90a: no kernel of template one_pass fits: it is a template of "
            "pre_forward");
  std::set<std::string> reasons;
  for (const Candidate& candidate : one_pass_candidates(problem_of(8, 2048))) reasons.insert(candidate.rejected);
  EXPECT_FALSE(reasons.contains("")) << "80 rows of phi are more than registers and shared memory hold";
  EXPECT_GT(reasons.size(), 10u);
}

TEST(OnePass, TakesTheCheapestCandidate) {
  const KernelSpec spec = llvm::cantFail(choose_spec(problem_of(4, 4096), KernelTemplate::one_pass));
  EXPECT_EQ(spec.kernel_template, KernelTemplate::one_pass);
  for (const Candidate& candidate : one_pass_candidates(problem_of(4, 4096)))
    if (candidate.legal()) {
      EXPECT_LE(estimated_cost(spec), estimated_cost(candidate.spec));
    }
}

TEST(OnePass, NarrowPanelsAndRowGroupsServeSixStreams) {
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    const KernelSpec spec = llvm::cantFail(choose_spec(problem_of(6, 2560, dtype)));
    EXPECT_EQ(spec.kernel_template, KernelTemplate::one_pass);
    EXPECT_EQ(spec.cluster_size * spec.panels_per_stream * spec.panel_columns, 2560) << "no column is wasted";
    EXPECT_EQ(spec.panel_columns, 32);
    EXPECT_EQ(spec.row_groups, 2);
  }
}

TEST(OnePass, PanelsAreNarrowOnlyWhereWideOnesDoNotServe) {
  for (const Candidate& candidate : one_pass_candidates(problem_of(4, 4096)))
    if (candidate.legal() && candidate.spec.panel_columns == 32) {
      EXPECT_EQ(candidate.spec.panels_per_stream % 2, 1);
    }
}

TEST(OnePass, RowsOfPanelsAreOfAsManyBytesForEveryDtype) {
  const KernelSpec spec = llvm::cantFail(choose_spec(problem_of(4, 4096, DType::fp32)));
  EXPECT_EQ(spec.kernel_template, KernelTemplate::one_pass);
  for (const Candidate& candidate : one_pass_candidates(problem_of(4, 4096, DType::fp32)))
    EXPECT_EQ(candidate.spec.panel_columns, 32) << "lanes that read at once find their parts in different banks";
}

TEST(OnePass, LaunchesOneKernelWithAClusterForEachTile) {
  const KernelSpec spec = llvm::cantFail(choose_spec(problem_of(4, 4096), KernelTemplate::one_pass));
  const std::vector<StagePlan> plans = stages(spec);
  ASSERT_EQ(plans.size(), 1u);
  EXPECT_EQ(plans[0].cluster_size, spec.cluster_size);
  EXPECT_TRUE(plans[0].is_persistent);
  EXPECT_EQ(plans[0].box, (TensorBox{spec.panel_columns, spec.tokens_per_tile, spec.problem.n}));
  const std::int64_t T = 3 * spec.tokens_per_tile + 1;
  const auto cluster_size = static_cast<std::uint32_t>(spec.cluster_size);
  EXPECT_EQ(grid_of(spec, Stage::one_pass, T), (Grid{4 * cluster_size, 1, cluster_size}));
  EXPECT_EQ(grid_of(spec, Stage::one_pass, 1), (Grid{cluster_size, 1, cluster_size}));
}

TEST(KernelTemplate, IsParsedByName) {
  for (const KernelTemplate one :
       {KernelTemplate::portable, KernelTemplate::two_pass, KernelTemplate::one_pass, KernelTemplate::few_tokens})
    EXPECT_EQ(llvm::cantFail(parse_kernel_template(to_string(one))), one);
  auto wrong = parse_kernel_template("three_pass");
  ASSERT_FALSE(static_cast<bool>(wrong));
  EXPECT_EQ(take_failure(wrong.takeError()).text,
            "template is 'three_pass', allowed: portable, two_pass, one_pass, few_tokens");
}

}  // namespace
}  // namespace mhcjit::codegen
