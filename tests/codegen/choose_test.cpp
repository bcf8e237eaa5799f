// Which plan a number of tokens gets: on families with made-up costs, whose best choice is known, and on the library's
// own.
#include "codegen/choose.h"

#include <algorithm>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

// ---- Made-up families ----------------------------------------------------------------------------------------------

// A call takes fixed_us and us_per_token for each token; its kernels are told apart by these names.
struct Costs {
  double fixed_us;
  double us_per_token;
  std::vector<std::string> kernels;
  std::string order = {};
};

class MadeUpPlan final : public Plan {
 public:
  MadeUpPlan(const Problem& problem, std::int64_t number, const Costs& costs)
      : Plan(problem, "made_up", {{"number", number}}), costs_(costs) {
    for (const std::string& name : costs.kernels)
      kernels_.push_back(
          {.name = name, .header = name + ".cuh", .plan = "MadeUp", .constants = {}, .threads_per_block = warp_size});
  }

  Grid grid(std::size_t, std::int64_t tokens, const Device&) const override { return grid_of_blocks(tokens); }
  std::string order() const override { return costs_.order.empty() ? Plan::order() : costs_.order; }
  double cost_us(std::int64_t tokens, const Device&) const override {
    return costs_.fixed_us + costs_.us_per_token * static_cast<double>(tokens);
  }

 private:
  const Costs costs_;
};

// The costs of the test that runs.
std::vector<Costs> made_up_costs;

std::vector<Candidate> made_up_candidates(const Problem& problem, const Device&) {
  std::vector<Candidate> list;
  for (const Costs& costs : made_up_costs) {
    const auto number = static_cast<std::int64_t>(list.size());
    list.push_back({std::make_shared<MadeUpPlan>(problem, number, costs), {{"number", number}}, ""});
  }
  list.push_back({nullptr, {{"number", -1}}, "nobody makes it"});
  return list;
}

const Family made_up = {"made_up", made_up_candidates};
constexpr const Family* made_up_families[] = {&made_up};

const Operator& made_up_operator() {
  static const Operator op = [] {
    Operator copy = pre_forward;
    copy.families = made_up_families;
    return copy;
  }();
  return op;
}

Problem made_up_problem() { return {&made_up_operator(), 4, 256, DType::bf16, false, false, hopper}; }

// "numbers up to T": "1 888, 0 2147483647".
std::string chosen(std::vector<Costs> costs, const ChooseOptions& options = {}, bool batch_invariant = false) {
  made_up_costs = std::move(costs);
  Problem problem = made_up_problem();
  problem.batch_invariant = batch_invariant;
  std::vector<std::string> texts;
  for (const Bucket& bucket : llvm::cantFail(choose(problem, options)))
    texts.push_back(fmt::format("{} {}", *bucket.plan->parameter("number"), bucket.max_tokens));
  return fmt::format("{}", fmt::join(texts, ", "));
}

const Costs for_many = {10.0, 0.001, {"many"}};
const Costs for_few = {2.0, 0.01, {"few"}};

TEST(Choose, ChangesPlansWhereTheirCostsCross) {
  // 2 + 0.01 T = 10 + 0.001 T at T = 888.9.
  EXPECT_EQ(chosen({for_many, for_few}), "1 888, 0 2147483647");
  EXPECT_EQ(chosen({for_few, for_many}), "0 888, 1 2147483647");
}

TEST(Choose, TakesTheCheapestForManyTokens) {
  EXPECT_EQ(chosen({{3.0, 0.02, {"a"}}, {3.0, 0.01, {"b"}}, {3.0, 0.03, {"c"}}}), "1 2147483647");
}

TEST(Choose, KeepsTheOrderOfAdditionsOfABatchInvariantProblem) {
  EXPECT_EQ(chosen({for_few, for_many}, {}, /*batch_invariant=*/true), "1 2147483647");
  const Costs like_many = {3.0, 0.01, {"like many"}, "same"};
  const Costs many = {10.0, 0.001, {"many"}, "same"};
  // 3 + 0.01 T = 10 + 0.001 T at T = 777.8.
  EXPECT_EQ(chosen({for_few, like_many, many}, {}, /*batch_invariant=*/true), "1 777, 2 2147483647");
}

TEST(Choose, AddsAPlanOnlyForWhatIsWorthCompiling) {
  EXPECT_EQ(chosen({for_many, {9.9, 0.0011, {"few"}}}), "0 2147483647");
  // 9.8 + 0.0011 T = 10 + 0.001 T at T = 2000.
  EXPECT_EQ(chosen({for_many, {9.8, 0.0011, {"few"}}}), "1 1999, 0 2147483647");
}

TEST(Choose, KeepsToTheNumberOfKernels) {
  const Costs of_two = {4.0, 0.002, {"middle", "second"}};
  EXPECT_EQ(chosen({for_many, for_few}, {.max_kernels = 1}), "0 2147483647");
  EXPECT_EQ(chosen({for_many, of_two}, {.max_kernels = 2}), "0 2147483647");
  EXPECT_NE(chosen({for_many, of_two}, {.max_kernels = 3}), "0 2147483647");
  // Without a kernel of its own it is no kernel too many: 9.5 + 0.0015 T = 10 + 0.001 T at T = 1000.
  EXPECT_EQ(chosen({for_many, {9.5, 0.0015, {"many"}}}, {.max_kernels = 1}), "1 999, 0 2147483647");
}

TEST(Choose, APlanOfMoreKernelsThanAllowedStandsAlone) {
  EXPECT_EQ(chosen({{10.0, 0.001, {"a", "b", "c", "d"}}, for_few}, {.max_kernels = 3}), "0 2147483647");
}

// What many lose is little, and few gain much by the kernels that are left.
TEST(Choose, GivesUpALittleForManyWhereFewGainByIt) {
  const Costs of_three = {10.0, 0.001, {"a", "b", "c"}};
  const Costs almost = {10.3, 0.00102, {"d"}};
  EXPECT_EQ(chosen({of_three, almost, for_few}, {.max_kernels = 3}), "2 924, 1 2147483647");
  const Costs too_slow = {10.5, 0.00102, {"d"}};
  EXPECT_EQ(chosen({of_three, too_slow, for_few}, {.max_kernels = 3}), "0 2147483647");
}

TEST(Choose, TakesWhatIsWanted) {
  EXPECT_EQ(chosen({for_many, for_few}, {.wanted = "made_up"}), "1 888, 0 2147483647");
  EXPECT_EQ(chosen({for_many, for_few}, {.wanted = "made_up number=1"}), "1 2147483647");
}

TEST(Choose, RefusesWhatIsNotThere) {
  made_up_costs = {for_many};
  const std::string problem = "pre_forward n=4 D=256 bf16 sm_90a: no plan ";
  EXPECT_EQ(refusal(made_up_problem(), "made_up number=7"), problem + "made_up number=7 fits: nobody makes it");
  EXPECT_EQ(refusal(made_up_problem(), "made_up size=0"), problem + "made_up size=0 fits: nobody makes it");
  EXPECT_EQ(refusal(made_up_problem(), "other"), problem + "other fits: the operator has no such family");
  EXPECT_EQ(refusal(made_up_problem(), "made_up number=one"),
            "plan is 'made_up number=one', allowed: a family, parameters of it as NAME=NUMBER, and clusters=0");
}

TEST(Choose, RefusesWhatCheckRefuses) { EXPECT_EQ(refusal(forward_of(17, 4096), ""), "n is 17, allowed: 1 to 16"); }

TEST(Wanted, NamesAFamilyOfAnOperator) {
  EXPECT_FALSE(static_cast<bool>(check_wanted("")));
  std::string names;
  for (const Operator* op : operators())
    for (const Family* family : op->families) EXPECT_FALSE(static_cast<bool>(check_wanted(family->name)));
  const Failure failure = take_failure(check_wanted("three_pass cluster_size=2"));
  EXPECT_EQ(failure.status, MHCJIT_ERROR_INVALID_ARGUMENT);
  EXPECT_TRUE(llvm::StringRef(failure.text).starts_with("family is 'three_pass', allowed: ")) << failure.text;
  for (const Operator* op : operators())
    for (const Family* family : op->families)
      EXPECT_NE(failure.text.find(family->name), std::string::npos) << failure.text;
  for (const char* text : {"one_pass cluster_size", "one_pass =4", "one_pass cluster_size=x"})
    EXPECT_NE(take_failure(check_wanted(text)).text.find(fmt::format("plan is '{}', allowed: ", text)),
              std::string::npos);
}

// ---- The library's families ----------------------------------------------------------------------------------------

TEST(Buckets, RiseAndCoverEveryT) {
  for_many_problems([](const Problem& problem) {
    SCOPED_TRACE(to_string(problem));
    std::int64_t last = 0;
    const Plan* previous = nullptr;
    for (const Bucket& bucket : llvm::cantFail(choose(problem))) {
      ASSERT_NE(bucket.plan, nullptr);
      EXPECT_GT(bucket.max_tokens, last);
      EXPECT_NE(bucket.plan.get(), previous) << "two buckets are one";
      last = bucket.max_tokens;
      previous = bucket.plan.get();
    }
    EXPECT_EQ(last, max_tokens);
  });
}

TEST(Buckets, HaveFewKernelsOrOnePlan) {
  constexpr std::size_t most = 5;
  for_many_problems([](const Problem& problem) {
    const std::vector<Bucket> buckets = llvm::cantFail(choose(problem));
    EXPECT_TRUE(buckets.size() == 1 || texts_of(problem, buckets).size() <= most) << to_string(problem);
  });
  for (int n = 1; n <= max_n; ++n) {
    const Problem problem = forward_of(n, 4096);
    EXPECT_LE(texts_of(problem, llvm::cantFail(choose(problem))).size(), most) << to_string(problem);
  }
}

TEST(Buckets, AddInOneOrderWhereBitsMayNotChangeWithT) {
  for_many_problems([](Problem problem) {
    problem.batch_invariant = true;
    const std::vector<Bucket> buckets = llvm::cantFail(choose(problem));
    for (const Bucket& bucket : buckets)
      EXPECT_EQ(bucket.plan->order(), buckets.back().plan->order()) << to_string(problem);
  });
}

TEST(Buckets, OfOnePassHaveAPlanForFewTokensWhereBitsMayNotChangeWithT) {
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168}) {
    Problem problem = forward_of(4, d);
    problem.batch_invariant = true;
    const std::vector<Bucket> buckets = llvm::cantFail(choose(problem));
    EXPECT_EQ(buckets.front().plan->family(), "few_tokens") << d;
    EXPECT_GE(buckets.front().max_tokens, 64) << d;
    EXPECT_EQ(buckets.back().plan->family(), "one_pass") << d;
  }
}

TEST(Buckets, HaveNoClustersOnADeviceWithoutThem) {
  for_many_problems([](const Problem& problem) {
    const Device device = device_of(problem.architecture).without_clusters();
    for (const Bucket& bucket : llvm::cantFail(choose(problem, device)))
      EXPECT_FALSE(bucket.plan->uses_clusters()) << to_string(problem) << ": " << to_string(*bucket.plan);
  });
}

TEST(Buckets, HaveNoClustersWhereNoneAreWanted) {
  for (const Problem& problem : {forward_of(4, 4096), forward_of(8, 2048)})
    for (const char* wanted : {"clusters=0", "two_pass clusters=0"}) {
      const std::vector<Bucket> buckets = llvm::cantFail(choose(problem, {.wanted = wanted}));
      for (const Bucket& bucket : buckets) EXPECT_FALSE(bucket.plan->uses_clusters()) << to_string(*bucket.plan);
    }
  EXPECT_EQ(refusal(forward_of(4, 4096), "one_pass clusters=0"),
            "pre_forward n=4 D=4096 bf16 gamma sm_90a: no plan one_pass clusters=0 fits: it needs clusters, "
            "which the device cannot run");
}

TEST(Buckets, AreTheSameEachTime) {
  for (const Operator* op : operators()) {
    const Problem problem = {op, 8, 2048, DType::bf16, true, false, hopper};
    EXPECT_EQ(texts_of(problem, llvm::cantFail(choose(problem))), texts_of(problem, llvm::cantFail(choose(problem))));
  }
}

TEST(Buckets, OfTheShapesOfModelsAreOnePassBehindFewTokens) {
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168}) {
    const std::vector<Bucket> buckets = llvm::cantFail(choose(forward_of(4, d, DType::bf16, false)));
    ASSERT_GE(buckets.size(), 2u) << d;
    EXPECT_EQ(buckets.front().plan->family(), "few_tokens") << d;
    EXPECT_GE(buckets.front().max_tokens, 64) << d;
    EXPECT_EQ(buckets.back().plan->family(), "one_pass") << d;
  }
}

TEST(Buckets, OfWhatFitsNoSinglePassAreTwoPassesBehindFewTokens) {
  for (const Problem& problem :
       {forward_of(8, 2048), forward_of(8, 2048, DType::fp32), forward_of(4, 4100), forward_of(9, 4096)}) {
    const std::vector<Bucket> buckets = llvm::cantFail(choose(problem));
    EXPECT_EQ(buckets.front().plan->family(), "few_tokens") << to_string(problem);
    EXPECT_EQ(buckets.back().plan->family(), "two_pass") << to_string(problem);
  }
  // In clusters where they win, as measured, and where they should by their cost.
  EXPECT_FALSE(llvm::cantFail(choose(forward_of(8, 2048))).back().plan->uses_clusters());
  EXPECT_TRUE(llvm::cantFail(choose(forward_of(9, 4096))).back().plan->uses_clusters());
}

TEST(Buckets, OfOlderDevicesAreTwoPassesWithoutClusters) {
  const std::vector<Bucket> buckets = llvm::cantFail(choose(forward_of(4, 4096, DType::bf16, false, {8, 0, 0})));
  for (const Bucket& bucket : buckets) {
    EXPECT_EQ(bucket.plan->family(), "two_pass");
    EXPECT_EQ(bucket.plan->kernels().size(), 3u);
  }
}

TEST(BucketOf, IsTheFirstThatReachesT) {
  const std::vector<Bucket> buckets = {{16, nullptr}, {64, nullptr}, {max_tokens, nullptr}};
  EXPECT_EQ(bucket_of(buckets, 1).max_tokens, 16);
  EXPECT_EQ(bucket_of(buckets, 16).max_tokens, 16);
  EXPECT_EQ(bucket_of(buckets, 17).max_tokens, 64);
  EXPECT_EQ(bucket_of(buckets, max_tokens).max_tokens, max_tokens);
}

}  // namespace
}  // namespace mhcjit::codegen
