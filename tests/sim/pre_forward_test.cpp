// The generated forward kernels compute what the float64 oracle computes, write nothing else, and give the same bits
// in every order of threads and blocks and for every T.
#include <map>

#include <fmt/format.h>

#include "problem_test.h"
#include "problems.h"

namespace mhcjit::sim {
namespace {

class PreForward : public ProblemTest<&codegen::pre_forward> {
 protected:
  void expect_matches_oracle(const oracle::RandomOptions& options, std::uint64_t seed = 1) {
    expect_matches_oracle(std::vector{options}, seed);
  }

  // The outputs of all calls are compared as one tensor.
  void expect_matches_oracle(const std::vector<oracle::RandomOptions>& calls, std::uint64_t seed = 1) {
    struct Joined {
      oracle::Reference reference;
      std::vector<double> expected;
      std::vector<double> computed;
    };
    std::map<std::string_view, Joined> outputs;
    for (const oracle::RandomOptions& options : calls) {
      const oracle::Inputs inputs = oracle::random_inputs(options);
      const Outcome outcome = run_forward(op(), options.shape.T, inputs, {.seed = seed});
      ASSERT_EQ(outcome.fault, "");
      const oracle::Forward forward = oracle::pre_forward(options.shape, inputs);
      for (const oracle::Reference& output : oracle::outputs_of(options.shape, forward)) {
        Joined& joined = outputs.try_emplace(output.name, Joined{output, {}, {}}).first->second;
        std::ranges::copy(output.values, std::back_inserter(joined.expected));
        std::ranges::copy(values_of(outcome, output.name, problem()), std::back_inserter(joined.computed));
      }
    }
    for (auto& [name, joined] : outputs) {
      joined.reference.values = joined.expected;
      expect_right(joined.reference, joined.computed);
    }
  }
};

// The bounds are of a norm, which says nothing of a few numbers that may nearly cancel: of a small tensor as many calls
// as make 16 numbers.
TEST_P(PreForward, MatchesTheOracleForEveryTail) {
  for (const std::int64_t tokens : {1, 7, 13, 70}) {
    SCOPED_TRACE(tokens);
    std::vector<oracle::RandomOptions> calls;
    for (std::int64_t numbers = 0; numbers < 16; numbers += tokens * problem().n) {
      calls.push_back(random(tokens));
      calls.back().seed += calls.size() - 1;
    }
    expect_matches_oracle(calls);
  }
}

TEST_P(PreForward, MatchesTheOracleForSmallAndLargeX) {
  for (const double x_std : {0.05, 1.0, 20.0}) {
    for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
      SCOPED_TRACE(fmt::format("x std {}, alpha[1] {}", x_std, alpha[1]));
      expect_matches_oracle(random(13, x_std, alpha));
    }
  }
}

TEST_P(PreForward, MatchesTheOracleForEveryPostMult) {
  for (const double post_mult : {1.0, 0.0, -0.5}) {
    SCOPED_TRACE(post_mult);
    oracle::RandomOptions options = random(13);
    options.post_mult = post_mult;
    expect_matches_oracle(options);
  }
}

TEST_P(PreForward, LeavesOutWhatIsNotWanted) {
  const oracle::Inputs inputs = oracle::random_inputs(random(13));
  Tensors expected = run_forward(op(), 13, inputs).outputs;
  RunOptions options;
  for (const codegen::Tensor& tensor : codegen::pre_forward.tensors) {
    if (tensor.role != codegen::Role::optional_output) continue;
    const std::string name(tensor.name);
    expected.erase(name);
    options.unwanted.insert(name);
    const Outcome outcome = run_forward(op(), 13, inputs, options);
    EXPECT_EQ(outcome.fault, "");
    EXPECT_TRUE(outcome.outputs == expected) << "without " << name;
  }
}

TEST_P(PreForward, GivesTheSameBitsInEveryOrder) {
  const oracle::Inputs inputs = oracle::random_inputs(random(13));
  const Tensors first = run_forward(op(), 13, inputs, {.seed = 1}).outputs;
  for (const std::uint64_t seed : {2, 3})
    EXPECT_TRUE(run_forward(op(), 13, inputs, {.seed = seed}).outputs == first) << "seed " << seed;
}

TEST_P(PreForward, GivesARowTheSameBitsForEveryT) {
  const oracle::Inputs inputs = oracle::random_inputs(random(70));
  const Tensors all = run_forward(op(), 70, inputs).outputs;
  for (const std::int64_t token : {0, 7, 37, 69}) {
    const Tensors alone = run_forward(op(), 1, token_of(inputs, token, 70)).outputs;
    EXPECT_TRUE(rows_of(all, token, 70) == alone) << "token " << token;
  }
}

TEST_P(PreForward, GarbageInOneRowChangesNoOther) {
  constexpr std::int64_t tokens = 70;
  const oracle::Inputs clean = oracle::random_inputs(random(tokens));
  const Tensors expected = run_forward(op(), tokens, clean).outputs;
  for (const oracle::Garbage garbage : oracle::all_garbage) {
    SCOPED_TRACE(to_string(garbage));
    oracle::Inputs inputs = clean;
    oracle::put_garbage(garbage, tokens, x_dtype(), inputs.x);
    expect_others_unchanged(expected, run_forward(op(), tokens, inputs), tokens);
  }
}

// Long enough that every slot of a pipeline is used three times.
class PreForwardPipeline : public PreForward {};

TEST_P(PreForwardPipeline, MatchesTheOracleBeyondItsEnd) {
  const auto stages = std::get<std::int64_t>(find_stages(op().plan->kernels().front())->value);
  const std::int64_t clusters = op().device.clusters_at_once[*op().plan->parameter("cluster_size")];
  const std::int64_t tokens = (clusters * (2 * stages + 1) + 1) * *op().plan->parameter("tokens_per_tile") + 3;
  for (const std::uint64_t seed : {1, 2}) expect_matches_oracle(random(tokens), seed);
}

// Plans whose order of additions is that of another family.
class PreForwardOrder : public PreForward {};

TEST_P(PreForwardOrder, GivesTheBitsOfEveryPlanOfTheSameOrder) {
  const oracle::Inputs inputs = oracle::random_inputs(random(70));
  const Tensors expected = run_forward(op(), 70, inputs).outputs;
  int others = 0;
  for (const std::string_view name : problem_names(codegen::pre_forward)) {
    const Operator other = find_operator(name, codegen::pre_forward);
    if (name == GetParam() || other.plan->problem() != problem() || other.plan->order() != op().plan->order()) continue;
    ++others;
    EXPECT_TRUE(run_forward(other, 70, inputs).outputs == expected) << name;
  }
  EXPECT_GE(others, 1);
}

std::vector<std::string_view> ordered_problem_names() {
  std::vector<std::string_view> names = problem_names(codegen::pre_forward);
  std::erase_if(names, [](std::string_view name) {
    const codegen::PlanPtr plan = find_operator(name, codegen::pre_forward).plan;
    return plan->family() != "few_tokens" || !plan->parameter("panel_columns");
  });
  return names;
}

std::vector<std::string_view> pipelined_problem_names() {
  std::vector<std::string_view> names = problem_names(codegen::pre_forward);
  std::erase_if(names, [](std::string_view name) {
    return find_operator(name, codegen::pre_forward).plan->family() != "one_pass";
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(, PreForwardOrder, ::testing::ValuesIn(ordered_problem_names()), problem_name);
INSTANTIATE_TEST_SUITE_P(, PreForwardPipeline, ::testing::ValuesIn(pipelined_problem_names()), problem_name);
INSTANTIATE_TEST_SUITE_P(, PreForward, ::testing::ValuesIn(problem_names(codegen::pre_forward)), problem_name);

}  // namespace
}  // namespace mhcjit::sim
