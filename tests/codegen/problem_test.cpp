// Problems: what is accepted, and what each refusal says.
#include "codegen/problem.h"

#include <gtest/gtest.h>
#include <llvm/ADT/StringRef.h>

#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

mhcjit_problem valid_problem() {
  return {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 4096, .dtype = MHCJIT_BF16, .has_gamma = 1};
}

std::string refusal(const mhcjit_problem& problem) {
  auto made = from_public(problem, {9, 0, 'a'});
  if (made) return "accepted";
  const Failure failure = take_failure(made.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
  return failure.text;
}

TEST(Problem, NamesItself) {
  auto problem = from_public(valid_problem(), {9, 0, 'a'});
  ASSERT_TRUE(static_cast<bool>(problem));
  EXPECT_EQ(to_string(*problem), "pre_forward n=4 D=4096 bf16 gamma sm_90a");
  EXPECT_EQ(problem->rows(), 24);
  EXPECT_EQ(problem->columns(), 16384);
  EXPECT_EQ(to_string(Problem{&pre_backward, 4, 4096, DType::bf16, false, true, {9, 0, 'a'}, true}),
            "pre_backward n=4 D=4096 bf16 batch_invariant fp32_dx sm_90a");
  EXPECT_EQ(to_string(SizedProblem{*problem, 64}), "pre_forward n=4 D=4096 bf16 gamma sm_90a T=64");
}

TEST(Problem, IsTheSameAfterAWayThroughThePublicOne) {
  for (int flags = 0; flags < 8; ++flags) {
    const Problem problem = {&pre_backward,   3, 77, DType::fp16, (flags & 1) != 0, (flags & 2) != 0, {9, 0, 'a'},
                             (flags & 4) != 0};
    auto same = from_public(to_public(problem), problem.architecture);
    ASSERT_TRUE(static_cast<bool>(same));
    EXPECT_EQ(*same, problem);
  }
}

TEST(Problem, RefusesEachFieldByName) {
  mhcjit_problem problem = valid_problem();
  problem.n = 17;
  EXPECT_EQ(refusal(problem), "n is 17, allowed: 1 to 16");
  problem.n = 0;
  EXPECT_EQ(refusal(problem), "n is 0, allowed: 1 to 16");
  problem = valid_problem();
  problem.d = 0;
  EXPECT_EQ(refusal(problem), "D is 0, allowed: 1 to 16777216");
  problem.d = 16777217;
  EXPECT_EQ(refusal(problem), "D is 16777217, allowed: 1 to 16777216");
  problem = valid_problem();
  problem.op = static_cast<mhcjit_op>(99);
  EXPECT_TRUE(llvm::StringRef(refusal(problem)).starts_with("op is 99, allowed: 0 (pre_forward), 1 (pre_backward)"))
      << refusal(problem);
  problem = valid_problem();
  problem.dtype = static_cast<mhcjit_dtype>(-1);
  EXPECT_EQ(refusal(problem), "dtype is -1, allowed: 0 (bf16), 1 (fp16) and 2 (fp32)");
  problem = valid_problem();
  problem.has_gamma = 2;
  EXPECT_EQ(refusal(problem), "has_gamma is 2, allowed: 0 and 1");
  problem = valid_problem();
  problem.batch_invariant = -1;
  EXPECT_EQ(refusal(problem), "batch_invariant is -1, allowed: 0 and 1");
  problem = valid_problem();
  problem.fp32_dx = 2;
  EXPECT_EQ(refusal(problem), "fp32_dx is 2, allowed: 0 and 1");
  problem.fp32_dx = 1;
  EXPECT_EQ(refusal(problem), "fp32_dx is 1, allowed: 0 for pre_forward, which has no dx");
}

}  // namespace
}  // namespace mhcjit::codegen
