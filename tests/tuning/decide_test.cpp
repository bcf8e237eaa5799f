// From trials to plans: the noise rule, and buckets.
#include "tuning/decide.h"

#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/emit.h"
#include "codegen/operators.h"
#include "tuning/plan_search.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using codegen::Problem;
using codegen::Trial;
using codegen::TunedChoice;

Trial trial(double us, double spread_us = 0, Outcome outcome = Outcome::measured) {
  Trial one;
  one.us = us;
  one.spread_us = spread_us;
  one.outcome = outcome;
  return one;
}

TEST(Result, OfOneTrialIsThatTrials) {
  const std::vector<Trial> trials = {trial(10, 0.5)};
  const auto result = result_of(trials);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->us, 10);
  EXPECT_EQ(result->spread_us, 0.5);
}

TEST(Result, OfMoreLeavesOutTheFirst) {
  const std::vector<Trial> trials = {trial(99, 7), trial(10), trial(12), trial(11)};
  const auto result = result_of(trials);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->us, 11);
  EXPECT_EQ(result->spread_us, 1);
}

TEST(Result, IsNoneWhereOneTrialFailed) {
  const std::vector<Trial> trials = {trial(10), trial(0, 0, Outcome::wrong)};
  EXPECT_FALSE(result_of(trials));
}

TEST(Beats, TakesMoreThanTwoPercentAndTheSpreadOfBoth) {
  EXPECT_TRUE(beats({97.9, 0}, {100, 0}));
  EXPECT_FALSE(beats({98.1, 0}, {100, 0})) << "less than 2 %";
  EXPECT_TRUE(beats({94, 2}, {100, 3}));
  EXPECT_FALSE(beats({96, 2}, {100, 3})) << "less than the spread of both";
  EXPECT_FALSE(beats({100, 0}, {100, 0}));
}

class Decide : public testing::Test {
 protected:
  // All plans that are legal, by name, and the present buckets.
  explicit Decide() {
    buckets = llvm::cantFail(codegen::choose(problem));
    for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
      if (candidate.legal()) names.push_back(codegen::to_string(*candidate.plan));
  }

  std::string present(std::int64_t tokens) const {
    return codegen::to_string(*codegen::bucket_of(buckets, tokens).plan);
  }
  // The index'th of the plans that are never present ones.
  std::string other(std::size_t index) const {
    for (const std::string& name : names) {
      const auto is_it = [&](const codegen::Bucket& bucket) { return codegen::to_string(*bucket.plan) == name; };
      if (std::ranges::none_of(buckets, is_it) && index-- == 0) return name;
    }
    return "";
  }
  void add(std::int64_t tokens, const std::string& plan, double us, double spread_us = 0) {
    trials.push_back({problem, tokens, plan, Outcome::measured, us, spread_us, 20});
  }
  TunedChoice choice() const {
    const auto decided = decide(problem, trials);
    EXPECT_TRUE(decided.has_value());
    return decided.value_or(TunedChoice());
  }

  Problem problem = {&codegen::pre_forward, 4, 4096, codegen::DType::bf16, false, false, {9, 0, 'a'}};
  std::vector<codegen::Bucket> buckets;
  std::vector<std::string> names;
  std::vector<Trial> trials;
};

TEST_F(Decide, WhatDoesNotBeatThePresentPlanLeavesItsBuckets) {
  for (const std::int64_t tokens : {1, 64, 1024, 8192}) {
    add(tokens, present(tokens), 100);
    add(tokens, other(0), 98.5);
  }
  const TunedChoice decided = choice();
  ASSERT_EQ(decided.rows.size(), 4u);
  for (const codegen::TunedRow& row : decided.rows) {
    EXPECT_EQ(row.plan, row.present_plan);
    EXPECT_EQ(row.gain, 0);
  }
  for (std::size_t i = 0; i + 1 < decided.buckets.size(); ++i) {
    const auto is_it = [&](const codegen::Bucket& bucket) {
      return bucket.max_tokens == decided.buckets[i].max_tokens;
    };
    EXPECT_TRUE(std::ranges::any_of(buckets, is_it)) << decided.buckets[i].max_tokens;
  }
  EXPECT_EQ(decided.buckets.back().max_tokens, codegen::max_tokens);
}

TEST_F(Decide, WhatBeatsItTakesItsPlace) {
  add(1024, present(1024), 100, 1);
  add(1024, other(0), 95, 1);
  add(1024, other(1), 96, 1);
  const TunedChoice decided = choice();
  ASSERT_EQ(decided.rows.size(), 1u);
  EXPECT_EQ(decided.rows[0].plan, other(0));
  EXPECT_EQ(decided.rows[0].us, 95);
  EXPECT_EQ(decided.rows[0].present_plan, present(1024));
  EXPECT_EQ(decided.rows[0].present_us, 100);
  EXPECT_NEAR(decided.rows[0].gain, 0.05, 1e-9);
  ASSERT_EQ(decided.buckets.size(), 1u);
  EXPECT_EQ(decided.buckets[0].plan, other(0));
}

TEST_F(Decide, AmongNewPlansThatAreAsFastTheEstimateDecides) {
  const auto cost = [&](const std::string& name) {
    for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
      if (candidate.legal() && codegen::to_string(*candidate.plan) == name)
        return candidate.plan->cost_us(1024, codegen::device_of(problem.architecture));
    return 0.0;
  };
  const bool first_is_cheaper = cost(other(0)) < cost(other(1));
  ASSERT_NE(cost(other(0)), cost(other(1)));
  add(1024, present(1024), 100);
  add(1024, other(0), 90);
  add(1024, other(1), 90.8);
  EXPECT_EQ(choice().rows[0].plan, other(first_is_cheaper ? 0 : 1));
  trials[1].us = 90.8;
  trials[2].us = 90;
  EXPECT_EQ(choice().rows[0].plan, other(first_is_cheaper ? 0 : 1));
  trials[first_is_cheaper ? 1 : 2].us = 92;
  EXPECT_EQ(choice().rows[0].plan, other(first_is_cheaper ? 1 : 0)) << "it is 2 % slower";
}

TEST_F(Decide, APresentPlanThatFailedIsReplacedByTheFastest) {
  trials.push_back({problem, 1024, present(1024), Outcome::faulted});
  add(1024, other(0), 99);
  add(1024, other(1), 98);
  EXPECT_EQ(choice().rows.front().plan, other(1));
  EXPECT_EQ(choice().rows.front().present_us, 0);
}

TEST_F(Decide, RangesMeetWhereTheirPlansTakeTheSameTime) {
  add(1024, present(1024), 200);
  add(1024, other(0), 100);
  add(1024, other(1), 141.42);
  add(4096, present(4096), 800);
  add(4096, other(0), 565.7);
  add(4096, other(1), 400);
  const TunedChoice decided = choice();
  ASSERT_EQ(decided.buckets.size(), 2u);
  EXPECT_EQ(decided.buckets[0].plan, other(0));
  EXPECT_NEAR(static_cast<double>(decided.buckets[0].max_tokens), 2048, 2) << "both logarithms are lines";
  EXPECT_EQ(decided.buckets[1].plan, other(1));
}

TEST_F(Decide, NoMorePlansThanAnEngineHas) {
  std::int64_t tokens = 256;
  for (std::size_t i = 0; i < 6; ++i, tokens *= 2)
    for (std::size_t plan = 0; plan < 6; ++plan) add(tokens, other(plan), plan == i ? 50 : 60);
  for (Trial& one : trials)
    if (one.plan == other(0)) one.us -= 1;
  const TunedChoice decided = choice();
  std::set<std::string> plans;
  for (const codegen::TunedBucket& bucket : decided.buckets) plans.insert(bucket.plan);
  EXPECT_EQ(plans.size(), codegen::max_plans);
  EXPECT_EQ(decided.rows.size(), 6u);
  for (const codegen::TunedRow& row : decided.rows) {
    const auto serves = [&](const codegen::TunedBucket& bucket) { return bucket.max_tokens >= row.tokens; };
    EXPECT_EQ(row.plan, std::ranges::find_if(decided.buckets, serves)->plan) << row.tokens;
  }
}

// Four T's have a fastest plan each, of which one has to go. Two sweeps differ in which of two T's loses less.
TEST_F(Decide, WhereAsMuchIsLostEitherWayTheEstimateDecides) {
  const auto chosen = [&](double first_loses, double last_loses) {
    trials.clear();
    std::int64_t tokens = 256;
    for (std::size_t row = 0; row < 4; ++row, tokens *= 2)
      for (std::size_t plan = 0; plan < 4; ++plan)
        add(tokens, other(plan), plan == row ? 50 : row == 0 ? first_loses : row == 3 ? last_loses : 60);
    std::vector<std::string> plans;
    for (const codegen::TunedRow& row : choice().rows) plans.push_back(row.plan);
    return plans;
  };
  EXPECT_EQ(chosen(53.5, 53.6), chosen(53.6, 53.5));
  EXPECT_NE(chosen(53.5, 56), chosen(56, 53.5));
}

TEST_F(Decide, NoMoreKernelsThanAMeasuredGainIsWorth) {
  problem.n = 8;
  problem.d = 2560;
  buckets = llvm::cantFail(codegen::choose(problem));
  std::map<std::string, std::set<std::string>> kernels;  // the texts of each plan's
  for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
    if (candidate.legal())
      for (const codegen::Kernel& kernel : candidate.plan->kernels())
        kernels[codegen::to_string(*candidate.plan)].insert(codegen::emit(problem, kernel));
  const auto count = [&](const std::vector<std::string>& plans) {
    std::set<std::string> all;
    for (const std::string& plan : plans) all.insert(kernels[plan].begin(), kernels[plan].end());
    return all.size();
  };
  // What is chosen where each plan is the fastest at a T of its own.
  const auto fastest = [&](const std::vector<std::string>& plans) {
    trials.clear();
    std::int64_t tokens = 256;
    for (const std::string& fast : plans) {
      for (const std::string& plan : plans) add(tokens, plan, plan == fast ? 50 : 60);
      if (std::ranges::find(plans, present(tokens)) == plans.end()) add(tokens, present(tokens), 100);
      tokens *= 4;
    }
    std::vector<std::string> taken;
    for (const codegen::TunedRow& row : choice().rows) taken.push_back(row.plan);
    return taken;
  };
  std::vector<std::string> six, seven;
  for (const auto& [one, of_one] : kernels)
    for (const auto& [other, of_other] : kernels) {
      const std::vector<std::string> plans = {"few_tokens cluster_size=16 chunks_per_warp=2", one, other};
      if (count(plans) == max_kernels) six = plans;
      if (count(plans) == max_kernels + 1) seven = plans;
    }
  ASSERT_FALSE(six.empty());
  ASSERT_FALSE(seven.empty());
  EXPECT_GT(max_kernels, codegen::ChooseOptions().max_kernels);
  EXPECT_EQ(fastest(six), six);
  EXPECT_LE(count(fastest(seven)), max_kernels);
}

TEST_F(Decide, APlanThatIsAsGoodMakesRoomForOthers) {
  // Four T's with a plan of their own each, of which the first's is as fast as the present one there.
  const std::int64_t tokens[] = {256, 512, 1024, 2048};
  for (std::size_t i = 0; i < 4; ++i) {
    add(tokens[i], present(tokens[i]), i == 0 ? 50 : 100, 0.5);
    for (std::size_t plan = 1; plan < 4; ++plan) add(tokens[i], other(plan), plan == i ? 50 : 99, 0.5);
  }
  for (Trial& one : trials)
    if (one.tokens == 256 && one.plan == other(1)) one.us = 50.5;
  const TunedChoice decided = choice();
  ASSERT_EQ(decided.rows.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(decided.rows[i].plan, other(std::max<std::size_t>(1, i))) << tokens[i];
  for (Trial& one : trials)
    if (one.tokens == 256 && one.plan == other(1)) one.us = 52;
  EXPECT_EQ(choice().rows[0].plan, present(256)) << "nothing gains at the cost of another T";
}

TEST_F(Decide, PlansOfABatchInvariantProblemAddInOneOrder) {
  problem.batch_invariant = true;
  buckets = llvm::cantFail(codegen::choose(problem));
  std::string same, another;
  for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture))) {
    if (!candidate.legal()) continue;
    const std::string name = codegen::to_string(*candidate.plan);
    const auto is_it = [&](const codegen::Bucket& bucket) { return codegen::to_string(*bucket.plan) == name; };
    if (std::ranges::any_of(buckets, is_it)) continue;
    (candidate.plan->order() == buckets.front().plan->order() ? same : another) = name;
  }
  ASSERT_FALSE(same.empty());
  ASSERT_FALSE(another.empty());
  for (const std::int64_t tokens : {1, 8192}) {
    add(tokens, present(tokens), 100);
    add(tokens, same, tokens == 1 ? 90 : 101);
    add(tokens, another, tokens == 1 ? 10 : 101);
  }
  const TunedChoice decided = choice();
  ASSERT_EQ(decided.rows.size(), 2u);
  EXPECT_EQ(decided.rows[0].plan, same);
  EXPECT_EQ(decided.rows[1].plan, present(8192));
  for (Trial& one : trials)
    if (one.plan == another) one.us = 10;
  EXPECT_EQ(choice().buckets.size(), 1u);
  EXPECT_EQ(choice().buckets[0].plan, another) << "it beats the others everywhere";
}

TEST_F(Decide, PlansThatAreNotLegalAnyMoreArePassedOver) {
  add(1024, "one_pass cluster_size=3", 1);
  EXPECT_FALSE(decide(problem, trials));
  add(1024, present(1024), 100);
  EXPECT_EQ(choice().rows.front().plan, present(1024));
}

TEST_F(Decide, TheOrderOfTheTrialsOfDifferentPlansDoesNotMatter) {
  for (const std::int64_t tokens : {8192, 1, 1024}) {
    add(tokens, other(2), 90 + static_cast<double>(tokens % 7));
    add(tokens, present(tokens), 100);
    add(tokens, other(1), 90 + static_cast<double>(tokens % 5));
  }
  const TunedChoice decided = choice();
  std::ranges::reverse(trials);
  EXPECT_EQ(choice(), decided);
}

}  // namespace
}  // namespace mhcjit::tuning
