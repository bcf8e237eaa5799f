// Which measured row serves a problem, and that the estimate does where none can.
#include "codegen/tuned_choice.h"

#include "tests/codegen/problems.h"
#include "tests/codegen/tuned_records.h"

namespace mhcjit::codegen {
namespace {

const Problem asked = forward_of(4, 4096);

// What no family lists.
constexpr char illegal[] = "two_pass cluster_size=3";

// The names of the legal plans.
std::vector<std::string> legal_plans(const Problem& problem) {
  std::vector<std::string> names;
  for_legal_plans(problem, [&](const Plan& plan) { names.push_back(to_string(plan)); });
  return names;
}

// A plan that is legal for all these D.
std::string common_plan(const std::vector<std::int64_t>& sizes) {
  std::vector<std::string> common = legal_plans(asked);
  for (const std::int64_t d : sizes) {
    Problem problem = asked;
    problem.d = d;
    const std::vector<std::string> names = legal_plans(problem);
    std::erase_if(common, [&](const std::string& name) { return !llvm::is_contained(names, name); });
  }
  EXPECT_FALSE(common.empty());
  return common.empty() ? "" : common.back();
}

TunedChoice row(std::int64_t d, std::vector<TunedBucket> buckets) {
  TunedChoice choice = {asked, std::move(buckets), {}};
  choice.problem.d = d;
  return choice;
}
TunedChoice row(std::int64_t d, const std::string& plan) { return row(d, {{max_tokens, plan}}); }

std::vector<Bucket> chosen(const Problem& problem, TunedRecordPtr record, TunedRecordPtr shipped = nullptr) {
  return llvm::cantFail(choose(problem, {.tuned = {std::move(record), std::move(shipped)}}));
}

// "SOURCE D".
std::string origin_of(const Problem& problem, TunedRecordPtr record, TunedRecordPtr shipped = nullptr) {
  const std::vector<Bucket> buckets = chosen(problem, std::move(record), std::move(shipped));
  for (const Bucket& bucket : buckets) EXPECT_EQ(bucket.origin.source, buckets.front().origin.source);
  return fmt::format("{} {}", to_string(buckets.front().origin.source), buckets.front().origin.d);
}

TEST(TunedChoice, TheRowOfTheProblemGivesItsBuckets) {
  const std::vector<std::string> plans = legal_plans(asked);
  ASSERT_GE(plans.size(), 2u);
  const std::vector<Bucket> buckets =
      chosen(asked, record_of({row(4096, {{7, plans.front()}, {90, plans.back()}, {max_tokens, plans.front()}})}));
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_EQ(buckets[0].max_tokens, 7);
  EXPECT_EQ(buckets[1].max_tokens, 90);
  EXPECT_EQ(buckets[2].max_tokens, max_tokens);
  EXPECT_EQ(to_string(*buckets[0].plan), plans.front());
  EXPECT_EQ(to_string(*buckets[1].plan), plans.back());
  EXPECT_EQ(buckets[0].plan, buckets[2].plan);
  EXPECT_EQ(buckets[0].plan->problem(), asked);
  EXPECT_EQ(buckets[0].origin.refused, "");
}

// A record changes what is chosen and nothing of what is chosen.
TEST(TunedChoice, TheKernelsAreThoseOfThePlan) {
  const std::string plan = legal_plans(asked).back();
  const std::vector<Bucket> by_name = llvm::cantFail(choose(asked, {.wanted = plan}));
  EXPECT_EQ(texts_of(asked, chosen(asked, record_of({row(4096, plan)}))), texts_of(asked, by_name));
}

TEST(TunedChoice, TheUsersRecordComesBeforeTheShippedRowsAndTheEstimateLast) {
  const std::string plan = common_plan({4096, 4608});
  const TunedRecordPtr has = record_of({row(4096, plan)}), near = record_of({row(4608, plan)}), none = record_of({});
  EXPECT_EQ(origin_of(asked, has, has), "record 4096");
  EXPECT_EQ(origin_of(asked, near, has), "record 4608");
  EXPECT_EQ(origin_of(asked, none, has), "shipped 4096");
  EXPECT_EQ(origin_of(asked, nullptr, near), "shipped 4608");
  EXPECT_EQ(origin_of(asked, none, none), "estimate 0");
  EXPECT_EQ(origin_of(asked, nullptr, nullptr), "estimate 0");
}

TEST(TunedChoice, TheNearestDServesUpToAQuarterAway) {
  const std::string plan = common_plan({4096, 3584, 4608, 5120, 3328});
  const auto with = [&](std::vector<std::int64_t> sizes) {
    std::vector<TunedChoice> rows;
    for (const std::int64_t d : sizes) rows.push_back(row(d, plan));
    return origin_of(asked, record_of(std::move(rows)));
  };
  EXPECT_EQ(with({5120}), "record 5120");
  EXPECT_EQ(with({5121}), "estimate 0");
  EXPECT_EQ(with({3277}), "record 3277");
  EXPECT_EQ(with({3276}), "estimate 0");
  EXPECT_EQ(with({5120, 3584, 4608}), "record 4608");
  EXPECT_EQ(with({3584, 4608, 4096}), "record 4096");
}

TEST(TunedChoice, ARowWithGammaServesWithoutAndTheOtherWayRoundAfterTheOneThatIsAlike) {
  const std::string plan = common_plan({4096, 4608});
  const auto with = [&](std::vector<std::pair<std::int64_t, bool>> sizes) {
    std::vector<TunedChoice> rows;
    for (const auto& [d, has_gamma] : sizes) {
      rows.push_back(row(d, plan));
      rows.back().problem.has_gamma = has_gamma;
    }
    const TunedRecordPtr record = record_of(std::move(rows));
    Problem without = asked;
    without.has_gamma = false;
    std::string text;
    for (const Problem& problem : {asked, without}) {
      const Origin origin = chosen(problem, record).front().origin;
      text += fmt::format("{} {}{}; ", origin.d, origin.has_gamma, origin.refused);
    }
    return text;
  };
  EXPECT_EQ(with({{4096, true}, {4096, false}}), "4096 true; 4096 false; ");
  EXPECT_EQ(with({{4096, false}, {4096, true}}), "4096 true; 4096 false; ");
  EXPECT_EQ(with({{4096, true}}), "4096 true; 4096 true; ");
  EXPECT_EQ(with({{4096, false}}), "4096 false; 4096 false; ");
  EXPECT_EQ(with({{4608, false}, {4096, true}}), "4096 true; 4096 true; ") << "the nearer D comes first";
  EXPECT_EQ(with({{4608, false}, {4608, true}}), "4608 true; 4608 false; ");
}

TEST(TunedChoice, ANearRowWithAPlanThatIsNotLegalGivesWayInSilence) {
  const std::string plan = common_plan({4096, 5120});
  const TunedRecordPtr record = record_of({row(4608, {{9, plan}, {max_tokens, illegal}}), row(5120, plan)});
  EXPECT_EQ(origin_of(asked, record), "record 5120");
  EXPECT_EQ(chosen(asked, record).front().origin.refused, "");
}

TEST(TunedChoice, ARowOfTheProblemThatIsNotLegalSaysWhy) {
  const std::string plan = common_plan({4096, 4608});
  std::string rejected, reason;
  for (const NamedCandidate& one : candidates(asked, device_of(hopper)))
    if (!one.candidate.legal()) rejected = name_of(one), reason = one.candidate.rejected;
  ASSERT_FALSE(rejected.empty());

  const std::string unknown_plan = fmt::format("plan '{}': the families list no such plan", illegal);
  const TunedRecordPtr unknown = record_of({row(4096, {{9, plan}, {max_tokens, illegal}})});
  const std::vector<Bucket> estimate = chosen(asked, unknown);
  EXPECT_EQ(estimate.front().origin.source, Source::estimate);
  EXPECT_EQ(estimate.front().origin.refused, "record row: " + unknown_plan);
  EXPECT_EQ(texts_of(asked, estimate), texts_of(asked, llvm::cantFail(choose(asked))));

  const std::vector<Bucket> shipped = chosen(asked, record_of({row(4096, rejected)}), record_of({row(4608, plan)}));
  EXPECT_EQ(shipped.front().origin.source, Source::shipped);
  EXPECT_EQ(shipped.front().origin.refused, fmt::format("record row: plan '{}': {}", rejected, reason));

  EXPECT_EQ(chosen(asked, unknown, unknown).front().origin.refused,
            "record row: " + unknown_plan + "; shipped row: " + unknown_plan);
}

TEST(TunedChoice, PlansOfABatchInvariantProblemAddInOneOrder) {
  Problem invariant = asked;
  invariant.batch_invariant = true;
  std::map<std::string, std::vector<std::string>> by_order;
  for (const NamedCandidate& one : candidates(invariant, device_of(hopper)))
    if (one.candidate.legal()) by_order[one.candidate.plan->order()].push_back(name_of(one));
  ASSERT_GE(by_order.size(), 2u);
  const auto largest = std::ranges::max_element(by_order, {}, [](const auto& one) { return one.second.size(); });
  const std::vector<std::string> alike = largest->second;
  ASSERT_GE(alike.size(), 2u);
  by_order.erase(largest);
  const auto with = [&](const std::string& few, const std::string& many) {
    TunedChoice both = row(4096, {{9, few}, {max_tokens, many}});
    both.problem.batch_invariant = true;
    return chosen(invariant, record_of({both}));
  };
  EXPECT_EQ(with(alike[0], alike[1]).front().origin.source, Source::record);
  const std::string& other = by_order.begin()->second.front();
  const std::vector<Bucket> refused = with(alike[0], other);
  EXPECT_EQ(refused.front().origin.source, Source::estimate);
  EXPECT_EQ(refused.front().origin.refused,
            fmt::format("record row: plan '{}': it adds a token's sums in another order than '{}'", other, alike[0]));
}

TEST(TunedChoice, AnotherProblemsRowDoesNotServe) {
  const TunedRecordPtr record = record_of({row(4096, common_plan({}))});
  Problem other = asked;
  const auto expect_none = [&](auto change) {
    other = asked;
    change();
    EXPECT_EQ(origin_of(other, record), "estimate 0") << to_string(other);
  };
  expect_none([&] { other.n = 3; });
  expect_none([&] { other.dtype = DType::fp16; });
  expect_none([&] { other.batch_invariant = true; });
  expect_none([&] { other.op = &pre_backward; });
  expect_none([&] { other.architecture = {10, 0, 'a'}; });
}

TEST(TunedChoice, WhoWantsAPlanGetsIt) {
  const std::string plan = legal_plans(asked).front();
  const TunedRecords tuned = {.record = record_of({row(4096, plan)})};
  for (const std::string wanted : {"two_pass", "clusters=0"}) {
    const std::vector<Bucket> buckets = llvm::cantFail(choose(asked, {.wanted = wanted, .tuned = tuned}));
    EXPECT_EQ(buckets.front().origin.source, Source::estimate);
    EXPECT_EQ(texts_of(asked, buckets), texts_of(asked, llvm::cantFail(choose(asked, {.wanted = wanted}))));
  }
}

TEST(TunedChoice, TheGradeSaysHowNearTheRowIs) {
  const std::string plan = common_plan({4096, 4608});
  const auto grade = [&](std::int64_t d, std::string_view device, int multiprocessors, bool has_gamma = true) {
    TunedChoice near = row(d, plan);
    near.problem.has_gamma = has_gamma;
    const std::vector<Bucket> buckets = chosen(asked, record_of({near}));
    return buckets.front().origin.grade(asked, device, multiprocessors);
  };
  EXPECT_EQ(grade(4096, "Made-up GPU", 100), Grade::exact);
  EXPECT_EQ(grade(4608, "Made-up GPU", 100), Grade::nearest_d);
  EXPECT_EQ(grade(4096, "Other GPU", 100), Grade::other_device);
  EXPECT_EQ(grade(4608, "Made-up GPU", 99), Grade::other_device);
  EXPECT_EQ(grade(4096, "Made-up GPU", 100, false), Grade::other_gamma);
  EXPECT_EQ(grade(4608, "Made-up GPU", 100, false), Grade::other_gamma);
  EXPECT_EQ(grade(4096, "Other GPU", 100, false), Grade::other_device);
  EXPECT_EQ(Origin{}.grade(asked, "Made-up GPU", 100), Grade::none);
}

TEST(Digest, IsThatOfTheProblemAndItsPlans) {
  const std::vector<std::string> plans = legal_plans(asked);
  const auto digest = [&](std::vector<TunedBucket> buckets) {
    return digest_of(asked, chosen(asked, record_of({row(4096, std::move(buckets))})));
  };
  const std::string one = digest({{9, plans.front()}, {max_tokens, plans.back()}});
  EXPECT_EQ(one.size(), 64u);
  EXPECT_EQ(digest({{9, plans.front()}, {max_tokens, plans.back()}}), one);
  EXPECT_NE(digest({{8, plans.front()}, {max_tokens, plans.back()}}), one);
  EXPECT_NE(digest({{9, plans.back()}, {max_tokens, plans.front()}}), one);
  Problem other = asked;
  other.has_gamma = false;
  const std::vector<Bucket> estimate = llvm::cantFail(choose(asked));
  EXPECT_NE(digest_of(asked, estimate), digest_of(other, estimate));
}

}  // namespace
}  // namespace mhcjit::codegen
