// What a sweep tries.
#include "tuning/space.h"

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::tuning {
namespace {

using codegen::SizedProblem;

const SizedProblem shape = {{&codegen::pre_backward, 4, 2560, codegen::DType::bf16, false, false, {9, 0, 'a'}}, 1024};

Row row_with(const Pruning& pruning) { return llvm::cantFail(rows_of({&shape, 1}, pruning)).front(); }

double cost(const codegen::PlanPtr& plan) {
  return plan->cost_us(shape.tokens, codegen::device_of(shape.problem.architecture));
}

TEST(Space, WithoutPruningItIsEveryLegalPlan) {
  std::size_t legal = 0;
  for (const auto& [family, candidate] :
       codegen::candidates(shape.problem, codegen::device_of(shape.problem.architecture)))
    legal += candidate.legal() ? 1 : 0;
  const Row row = row_with({.margin = 1e9, .most = 100000});
  EXPECT_EQ(row.candidates.size(), legal);
  EXPECT_EQ(row.pruned, 0u);
  EXPECT_TRUE(std::ranges::is_sorted(row.candidates, {}, cost));
}

TEST(Space, TheEstimateRulesOutWhatIsBeyondTheMargin) {
  const Row all = row_with({.margin = 1e9, .most = 100000});
  const Row row = row_with({.margin = 1.1, .most = 100000});
  EXPECT_LT(row.candidates.size(), all.candidates.size());
  EXPECT_EQ(row.candidates.size() + row.pruned, all.candidates.size());
  const double most = 1.1 * cost(all.candidates.front());
  for (std::size_t i = 0; i < row.candidates.size(); ++i)
    EXPECT_TRUE(i == row.present || cost(row.candidates[i]) <= most) << i;
  EXPECT_GT(cost(all.candidates[row.candidates.size()]), most);
}

TEST(Space, ThePresentPlanIsTriedWhateverItsRank) {
  const auto buckets = llvm::cantFail(codegen::choose(shape.problem));
  const std::string present = codegen::to_string(*codegen::bucket_of(buckets, shape.tokens).plan);
  for (const std::size_t most : {1, 3, 10}) {
    const Row row = row_with({.margin = 1.2, .most = most});
    EXPECT_LE(row.candidates.size(), most + 1);
    EXPECT_EQ(codegen::to_string(*row.candidates.at(row.present)), present);
  }
}

TEST(Space, RowsOfAProblemShareTheirPlans) {
  SizedProblem other = shape;
  other.tokens = 2048;
  const std::vector<SizedProblem> both = {shape, other};
  const auto rows = llvm::cantFail(rows_of(both, {.margin = 1e9, .most = 100000}));
  EXPECT_TRUE(std::ranges::is_permutation(rows[0].candidates, rows[1].candidates));
}

TEST(Space, TheDigestIsThatOfTheArchitecturesCandidates) {
  EXPECT_EQ(space_digest({9, 0, 'a'}), space_digest({9, 0, 'a'}));
  EXPECT_NE(space_digest({9, 0, 'a'}), space_digest({8, 0, 0}));
  EXPECT_EQ(space_digest({9, 0, 'a'}).size(), 64u);
}

TEST(Space, AProblemThatIsOutOfRangeIsRefused) {
  SizedProblem wrong = shape;
  wrong.problem.n = 17;
  EXPECT_EQ(take_failure(rows_of({&wrong, 1}, {}).takeError()).status, MHCJIT_ERROR_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace mhcjit::tuning
