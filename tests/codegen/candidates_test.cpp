// Candidates and the heuristic: every problem has a legal spec, every rejection has a reason, and the choice is the
// cheapest legal one.
#include "codegen/candidates.h"

#include <gtest/gtest.h>

#include "codegen/heuristic.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

template <typename Visit>
void for_many_problems(Visit&& visit) {
  for (const Op op : {Op::pre_forward, Op::pre_backward})
    for (int n = 1; n <= max_n; ++n)
      for (const std::int64_t d : {1, 2, 3, 8, 12, 127, 128, 256, 1000, 1920, 4096, 5129, 7168, 8000, 1 << 24})
        for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32})
          visit(Problem{op, n, d, dtype, n % 2 == 0, false, {9, 0, 'a'}});
}

TEST(Candidates, EveryProblemHasALegalSpecWhoseConstantsFit) {
  for_many_problems([](const Problem& problem) {
    SCOPED_TRACE(to_string(problem));
    auto spec = choose_spec(problem, KernelTemplate::portable);
    ASSERT_TRUE(static_cast<bool>(spec));
    EXPECT_EQ(problem.d % spec->vec_size, 0);
    EXPECT_LE(spec->vec_size * bytes_of(problem.dtype), 16);
    EXPECT_EQ(spec->threads_per_block % spec->threads_per_token, 0);
    if (problem.op == Op::pre_forward) {
      EXPECT_GE(std::int64_t{spec->k_splits} * spec->columns_per_split, problem.columns());
      EXPECT_LT(std::int64_t{spec->k_splits - 1} * spec->columns_per_split, problem.columns());
    } else {
      EXPECT_GE(spec->padded_rows(), problem.rows());
      EXPECT_EQ(spec->threads_per_block % (32 * spec->row_warps), 0);
      for (const StagePlan& stage : stages(*spec)) EXPECT_LE(stage.dynamic_smem_bytes, 48 * 1024) << stage.name;
      EXPECT_EQ(spec->dx_columns_per_block % spec->vec_size, 0);
      EXPECT_EQ(spec->threads_per_block % (spec->dx_columns_per_block / spec->vec_size), 0);
    }
  });
}

TEST(Candidates, RejectionsSayWhatDoesNotFit) {
  const Problem small = {Op::pre_backward, 1, 2048, DType::bf16, false, false, {9, 0, 'a'}};
  bool too_many_warps = false;
  for (const Candidate& candidate : candidates(small))
    if (candidate.rejected == "2 warps of 12 rows are more than 3 rows need") too_many_warps = true;
  EXPECT_TRUE(too_many_warps);
}

TEST(Heuristic, ChoosesTheCheapestLegalCandidate) {
  for_many_problems([](const Problem& problem) {
    auto spec = choose_spec(problem, KernelTemplate::portable);
    ASSERT_TRUE(static_cast<bool>(spec));
    for (const Candidate& candidate : candidates(problem)) {
      if (!candidate.legal()) continue;
      EXPECT_LE(estimated_cost(*spec), estimated_cost(candidate.spec));
    }
  });
}

TEST(Heuristic, KeepsAllRowsOfTheUsualShapeInOneBlock) {
  const auto spec_of = [](Op op) {
    return llvm::cantFail(choose_spec({op, 4, 4096, DType::bf16, true, false, {9, 0, 'a'}}, KernelTemplate::portable));
  };
  EXPECT_EQ(spec_of(Op::pre_forward).row_blocks, 1);
  EXPECT_EQ(spec_of(Op::pre_forward).row_tiles, 3);
  EXPECT_EQ(spec_of(Op::pre_backward).row_blocks, 1);
  EXPECT_EQ(spec_of(Op::pre_backward).padded_rows(), 24);
}

TEST(Heuristic, EveryProblemGetsKernelsThatShareOutT) {
  for_many_problems([](const Problem& problem) {
    SCOPED_TRACE(to_string(problem));
    auto spec = choose_spec(problem);
    ASSERT_TRUE(static_cast<bool>(spec));
    if (problem.op == Op::pre_backward) {
      EXPECT_EQ(spec->kernel_template, KernelTemplate::portable);
    } else {
      EXPECT_LE(stages(*spec).size(), 3u);
    }
    // At every T the launches are those of one template.
    for (const std::int64_t tokens : {std::int64_t{1}, spec->few_max_tokens, spec->few_max_tokens + 1, max_tokens}) {
      if (tokens == 0) continue;
      bool few = false;
      bool main = false;
      for (const StagePlan& stage : stages(*spec))
        if (stage.serves(tokens)) (stage.stage == Stage::few_tokens ? few : main) = true;
      EXPECT_NE(few, main) << tokens;
      EXPECT_EQ(few, tokens <= spec->few_max_tokens) << tokens;
    }
  });
}

TEST(Heuristic, TakesOnePassForTheShapesOfModels) {
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168}) {
    const KernelSpec spec =
        llvm::cantFail(choose_spec({Op::pre_forward, 4, d, DType::bf16, false, false, {9, 0, 'a'}}));
    EXPECT_EQ(spec.kernel_template, KernelTemplate::one_pass) << d;
    EXPECT_GE(spec.few_max_tokens, 64) << d;
  }
  EXPECT_EQ(
      llvm::cantFail(choose_spec({Op::pre_forward, 4, 4096, DType::bf16, false, false, {8, 0, 0}})).kernel_template,
      KernelTemplate::portable);
}

// A token's sums are added in another order when few tokens have a kernel of their own.
TEST(Heuristic, HasOneKernelForAllTWhereBitsMayNotChangeWithT) {
  const KernelSpec spec =
      llvm::cantFail(choose_spec({Op::pre_forward, 4, 4096, DType::bf16, false, true, {9, 0, 'a'}}));
  EXPECT_EQ(spec.few_max_tokens, 0);
  EXPECT_EQ(stages(spec).size(), 1u);
}

TEST(Heuristic, RefusesWhatCheckRefuses) {
  auto spec = choose_spec({Op::pre_forward, 17, 4096, DType::bf16, true, false, {9, 0, 'a'}});
  ASSERT_FALSE(static_cast<bool>(spec));
  EXPECT_EQ(take_failure(spec.takeError()).text, "n is 17, allowed: 1 to 16");
}

}  // namespace
}  // namespace mhcjit::codegen
