// The generated backward kernels compute what the float64 oracle computes from the same saved values, write nothing
// else, and give the same bits in every order of threads and blocks.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "changed_plan.h"
#include "codegen/choose.h"
#include "codegen/emit.h"
#include "oracle/storage.h"
#include "problem_test.h"
#include "templates/pre_backward/one_pass_work.cuh"
#include "templates/pre_backward/portable_work.cuh"

namespace mhcjit::sim {
namespace {

struct Case {
  oracle::RandomOptions options;
  oracle::Inputs inputs;
  oracle::Forward forward;  // as forward saves it: rounded to fp32
  oracle::OutputGradients gradients;
};

Case make_case(const oracle::RandomOptions& options) {
  Case made = {options, oracle::random_inputs(options), {}, oracle::random_output_gradients(options)};
  made.forward = oracle::pre_forward(options.shape, made.inputs);
  oracle::Forward& saved = made.forward;
  for (std::vector<double>* tensor : {&saved.inv_rms, &saved.h_mix, &saved.h_pre, &saved.h_post})
    for (double& value : *tensor) value = oracle::round_to(value, MHCJIT_FP32);
  return made;
}

class PreBackward : public ProblemTest<&codegen::pre_backward> {
 protected:
  Outcome run(const Case& given, const RunOptions& options = {}) {
    return run_backward(op(), given.options.shape.T, given.inputs, given.forward, given.gradients, options);
  }

  static oracle::Backward reference_of(const Case& given) {
    return oracle::pre_backward(given.options.shape, given.inputs, given.forward, given.gradients);
  }

  void expect_all_right(const Case& given, const Outcome& outcome, const oracle::Backward& reference) const {
    ASSERT_EQ(outcome.fault, "");
    for (const oracle::Reference& output : oracle::outputs_of(given.options.shape, reference))
      expect_right(output, values_of(outcome, output.name, problem()));
  }

  void expect_matches_oracle(const Case& given) { expect_all_right(given, run(given), reference_of(given)); }
};

TEST_P(PreBackward, MatchesTheOracleForEveryTail) {
  for (const std::int64_t tokens : {1, 7, 13, 70}) {
    SCOPED_TRACE(tokens);
    expect_matches_oracle(make_case(random(tokens)));
  }
}

TEST_P(PreBackward, MatchesTheOracleForSmallAndLargeX) {
  for (const double x_std : {0.05, 1.0, 20.0}) {
    for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
      SCOPED_TRACE(fmt::format("x std {}, alpha[1] {}", x_std, alpha[1]));
      expect_matches_oracle(make_case(random(13, x_std, alpha)));
    }
  }
}

TEST_P(PreBackward, MatchesTheOracleForEveryPostMult) {
  for (const double post_mult : {1.0, 0.0, -0.5}) {
    SCOPED_TRACE(post_mult);
    oracle::RandomOptions options = random(13);
    options.post_mult = post_mult;
    expect_matches_oracle(make_case(options));
  }
}

// A launch is limited in how many blocks and splits it uses: with many tokens each steps through several tiles, and
// moves its sums to memory now and then. The limits are not compiled in, so lower ones show it with few tokens.
class FewBlocks final : public ChangedPlan {
 public:
  using ChangedPlan::ChangedPlan;

  codegen::Grid grid(std::size_t kernel, std::int64_t tokens, const codegen::Device& device) const override {
    codegen::Grid grid = ChangedPlan::grid(kernel, tokens, device);
    const std::string& name = kernels_[kernel].name;
    if (name == "pre_backward_coefficients") grid.x = std::min(grid.x, coefficient_blocks);
    if (name == "pre_backward_dx") grid.y = std::min(grid.y, token_splits);
    return grid;
  }

  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    ChangedPlan::fill_work(tokens, workspace, work);
    auto& changed = *static_cast<PortableBackwardWork*>(work);
    changed.bias_slots = std::min(changed.bias_slots, static_cast<int>(coefficient_blocks));
    changed.token_splits = std::min(changed.token_splits, changed.phases * static_cast<int>(token_splits));
    changed.tiles_per_sum = 2;
  }

 private:
  static constexpr std::uint32_t coefficient_blocks = 2;
  static constexpr std::uint32_t token_splits = 2;
};

// As many tiles as a ring has stages, and more.
constexpr std::int64_t tokens_of_many_tiles = 165;

// The other family steps through the tokens of every call that is larger than the simulated device.
class PreBackwardPortable : public PreBackward {};

TEST_P(PreBackwardPortable, MatchesTheOracleWhenBlocksStepThroughTokens) {
  op().plan = std::make_shared<FewBlocks>(op().plan);
  expect_matches_oracle(make_case(random(tokens_of_many_tiles)));
}

// One group has every tile, and hands its sums on after each two of them.
class OneGroup final : public ChangedPlan {
 public:
  using ChangedPlan::ChangedPlan;

  codegen::Grid grid(std::size_t kernel, std::int64_t tokens, const codegen::Device& device) const override {
    codegen::Grid grid = ChangedPlan::grid(kernel, tokens, device);
    if (kernel == 0)
      grid.x = static_cast<std::uint32_t>(std::max(kernels_[0].max_cluster_size, kernels_[0].min_blocks));
    return grid;
  }

  void fill_work(std::int64_t tokens, void* workspace, void* work) const override {
    ChangedPlan::fill_work(tokens, workspace, work);
    static_cast<OnePassBackwardWork*>(work)->tiles_per_sum = 2;
  }
};

class PreBackwardOnePass : public PreBackward {};

TEST_P(PreBackwardOnePass, MatchesTheOracleWhenItHandsItsSumsOn) {
  op().plan = std::make_shared<OneGroup>(op().plan);
  for (const std::int64_t tokens : {std::int64_t{70}, tokens_of_many_tiles})
    expect_matches_oracle(make_case(random(tokens)));
}

// The same kernels without a third; null where there is no such plan, or it has other kernels.
codegen::PlanPtr in_one_split(const codegen::Plan& plan) {
  codegen::Parameters wanted = plan.parameters();
  std::ranges::find(wanted, "splits_in_dx", &codegen::Parameters::value_type::first)->second = 1;
  const codegen::Problem& problem = plan.problem();
  for (const auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
    if (candidate.legal() && candidate.parameters == wanted &&
        emit(problem, candidate.plan->kernels()[1]) == emit(problem, plan.kernels()[1]))
      return candidate.plan;
  return nullptr;
}

bool has_phases(const codegen::Problem& problem) {
  const int bytes = codegen::bytes_of(problem.dtype);
  return problem.d * bytes % 16 != 0 && problem.columns() * bytes % 32 != 0;
}

TEST_P(PreBackwardPortable, MatchesTheOracleInOneSplit) {
  // More rows than one block has sums for need the third kernel, and so do rows that begin in several ways.
  const codegen::PlanPtr plan = in_one_split(*op().plan);
  ASSERT_EQ(plan != nullptr,
            problem().n <= 12 && (op().plan->parameter("splits_in_dx") != 0 || !has_phases(problem())));
  if (plan == nullptr) return;
  op().plan = plan;
  for (const std::int64_t tokens : {7, 70}) expect_matches_oracle(make_case(random(tokens)));
  op().plan = std::make_shared<FewBlocks>(op().plan);
  expect_matches_oracle(make_case(random(70)));
}

TEST_P(PreBackward, CountsAbsentGradientsAsZero) {
  const Case full = make_case(random(13));
  for (const std::string absent :
       {"dh_in", "dh_post", "dh_res", "all but dh_in", "all but dh_post", "all but dh_res"}) {
    SCOPED_TRACE(absent);
    Case given = full;
    const auto drop = [&](std::string_view name) {
      return absent == name || absent == fmt::format("all but {}", name);
    };
    const bool is_single = !absent.starts_with("all");
    if (drop("dh_in") == is_single) given.gradients.dh_in.clear();
    if (drop("dh_post") == is_single) given.gradients.dh_post.clear();
    if (drop("dh_res") == is_single) given.gradients.dh_res.clear();
    expect_matches_oracle(given);
  }
}

TEST_P(PreBackward, GivesZeroForNoGradientAtAll) {
  Case given = make_case(random(7));
  given.gradients = {};
  expect_matches_oracle(given);
}

TEST_P(PreBackward, AddsToWhatItAccumulatesInto) {
  const Case given = make_case(random(13));
  oracle::Backward sum = reference_of(given);
  RunOptions options;
  // As large as the gradient itself, so that neither term hides the other.
  std::uint64_t seed = 100;
  const auto add_previous = [&](const std::string& name, std::vector<double>& reference) {
    double square = 0.0;
    for (const double value : reference) square += value * value;
    const double size = std::sqrt(square / static_cast<double>(reference.size()));
    oracle::RandomOptions random_options = {{1, 1, static_cast<std::int64_t>(reference.size()), false}, MHCJIT_FP32};
    random_options.seed = seed++;
    const mhcjit_dtype dtype = dtype_of(problem(), name);
    std::vector<double> previous = oracle::random_inputs(random_options).x;
    for (double& value : previous) value = oracle::round_to(value * size, dtype);
    options.previous[name] = oracle::to_storage(previous, dtype);
    for (std::size_t i = 0; i < reference.size(); ++i) reference[i] += previous[i];
  };
  add_previous("dx", sum.dx);
  add_previous("dphi", sum.dphi);
  add_previous("dgamma", sum.dgamma);
  add_previous("dalpha", sum.dalpha);
  add_previous("dbias", sum.dbias);

  const oracle::Backward alone = reference_of(given);
  for (const bool dx : {false, true}) {
    for (const bool parameters : {false, true}) {
      SCOPED_TRACE(fmt::format("dx {}, parameters {}", dx, parameters));
      options.flags.clear();
      if (dx) options.flags.insert("accumulate_dx");
      if (parameters) options.flags.insert("accumulate_parameters");
      oracle::Backward expected = parameters ? sum : alone;
      expected.dx = dx ? sum.dx : alone.dx;
      expect_all_right(given, run(given, options), expected);
    }
  }
}

TEST_P(PreBackward, LeavesOutWhatIsNotWanted) {
  const Case given = make_case(random(13));
  const Tensors all = run(given).outputs;
  // Each alone left out, each alone wanted.
  for (const auto& [name, bytes] : all) {
    SCOPED_TRACE(name);
    Tensors others = all;
    others.erase(name);
    RunOptions options;
    for (const auto& other : others) options.unwanted.insert(other.first);
    const Outcome alone = run(given, options);
    EXPECT_EQ(alone.fault, "");
    EXPECT_TRUE(alone.outputs == (Tensors{{name, bytes}}));

    const Outcome without = run(given, {.unwanted = {name}});
    EXPECT_EQ(without.fault, "");
    EXPECT_TRUE(without.outputs == others);
  }
}

TEST_P(PreBackward, GivesTheSameBitsInEveryOrder) {
  const Case given = make_case(random(13));
  const Tensors first = run(given, {.seed = 1}).outputs;
  for (const std::uint64_t seed : {2, 3}) EXPECT_TRUE(run(given, {.seed = seed}).outputs == first) << "seed " << seed;
}

TEST_P(PreBackward, GivesTheSameBitsForEveryAlignment) {
  const Case given = make_case(random(70));
  const Outcome aligned = run(given, {.least_alignment = 16});
  EXPECT_EQ(aligned.fault, "");
  EXPECT_TRUE(aligned.outputs == run(given).outputs);
}

TEST_P(PreBackward, GivesARowOfDxTheSameBitsForEveryT) {
  const Case all = make_case(random(70));
  const RunOptions only_dx = {.unwanted = {"dphi", "dgamma", "dalpha", "dbias"}};
  const Tensors rows = run(all, only_dx).outputs;
  for (const std::int64_t token : {0, 7, 37, 69}) {
    Case one = all;
    one.options.shape.T = 1;
    one.inputs = token_of(all.inputs, token, 70);
    for (auto tensor :
         {&oracle::Forward::inv_rms, &oracle::Forward::h_mix, &oracle::Forward::h_pre, &oracle::Forward::h_post})
      one.forward.*tensor = part_of(all.forward.*tensor, token, 70);
    for (auto tensor :
         {&oracle::OutputGradients::dh_in, &oracle::OutputGradients::dh_post, &oracle::OutputGradients::dh_res})
      one.gradients.*tensor = part_of(all.gradients.*tensor, token, 70);
    EXPECT_TRUE(rows_of(rows, token, 70) == run(one, only_dx).outputs) << "token " << token;
  }
}

TEST_P(PreBackward, GarbageInOneRowChangesNoOtherOfDx) {
  constexpr std::int64_t tokens = 70;
  const Case clean = make_case(random(tokens));
  const RunOptions only_dx = {.unwanted = {"dphi", "dgamma", "dalpha", "dbias"}};
  const Tensors expected = run(clean, only_dx).outputs;
  for (const oracle::Garbage garbage : oracle::all_garbage) {
    SCOPED_TRACE(to_string(garbage));
    Case given = clean;
    for (std::vector<double>* tensor : {&given.inputs.x, &given.gradients.dh_in})
      oracle::put_garbage(garbage, tokens, x_dtype(), *tensor);
    for (std::vector<double>* tensor : {&given.forward.inv_rms, &given.forward.h_mix, &given.forward.h_pre,
                                        &given.forward.h_post, &given.gradients.dh_post, &given.gradients.dh_res})
      oracle::put_garbage(garbage, tokens, MHCJIT_FP32, *tensor);
    expect_others_unchanged(expected, run(given, only_dx), tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(, PreBackward, ::testing::ValuesIn(problem_names(codegen::pre_backward)), problem_name);
INSTANTIATE_TEST_SUITE_P(, PreBackwardPortable,
                         ::testing::ValuesIn(problem_names(codegen::pre_backward, "mhcjit_pre_backward_coefficients")),
                         problem_name);
INSTANTIATE_TEST_SUITE_P(, PreBackwardOnePass,
                         ::testing::ValuesIn(problem_names(codegen::pre_backward, "mhcjit_pre_backward_one_pass")),
                         problem_name);

}  // namespace
}  // namespace mhcjit::sim
