// A device that cannot run even one cluster, like a MIG slice: what the library would choose for whole devices gives
// way to the cheapest plan without clusters, once, with a warning, from the cache like any other kernel.
#include <cmath>
#include <thread>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

// Kernels of forward_problem, each loaded by a call of its own.
constexpr int chosen_kernels = 3;
constexpr int other_kernels = 3;

const std::string without_clusters(codegen::without_clusters);

class FallBackTest : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    driver().clusters_at_once = 0;
  }

  EnginePtr strict_engine() {
    mhcjit_engine_options chosen = options();
    chosen.no_compile = 1;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  static void compile(const EnginePtr& engine) {
    EXPECT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  }

  static const codegen::Device& device() { return codegen::device_of({9, 0, 'a'}); }

  static double least_cost_without_clusters(const codegen::Problem& problem, std::int64_t T) {
    double least = HUGE_VAL;
    for (const auto& [family, candidate] : codegen::candidates(problem, device()))
      if (candidate.legal() && !candidate.plan->uses_clusters())
        least = std::min(least, candidate.plan->cost_us(T, device()));
    return least;
  }

  // Whatever T is, the launches are those of the cheapest plans without clusters alone.
  static void expect_without_clusters(const mhcjit_operator* op, const mhcjit_problem& problem) {
    const std::vector<codegen::Bucket> without = buckets_of(problem, without_clusters);
    for (const std::int64_t T : {std::int64_t{1}, buckets_of(problem).front().max_tokens + 1}) {
      const codegen::Plan& plan = *codegen::bucket_of(without, T).plan;
      EXPECT_FALSE(plan.uses_clusters());
      EXPECT_LE(plan.cost_us(T, device()), 1.1 * least_cost_without_clusters(plan.problem(), T));
      EXPECT_EQ(workspace_bytes(op, T), plan.workspace_bytes(T));
      const ForwardCall call(problem, T, workspace_bytes(op, T));
      const std::size_t before = driver().launches().size();
      ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
      const std::vector<fake::Launch> launches = driver().launches();
      ASSERT_EQ(launches.size() - before, plan.kernels().size());
      for (std::size_t i = 0; i < plan.kernels().size(); ++i) {
        EXPECT_EQ(launches[before + i].kernel, plan.kernels()[i].entry());
        EXPECT_EQ(launches[before + i].cluster_size, 0u);
      }
    }
  }

  // One, with all of `parts`.
  void expect_warning(const std::vector<std::string>& parts) {
    ASSERT_EQ(warnings.size(), 1u);
    for (const std::string& part : parts) EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
  }
};

TEST_F(FallBackTest, APlanWithoutClustersServes) {
  ASSERT_TRUE(
      llvm::all_of(buckets_of(forward_problem), [](const auto& bucket) { return bucket.plan->uses_clusters(); }));
  ASSERT_EQ(kernel_count(forward_problem), chosen_kernels);
  ASSERT_EQ(kernel_count(forward_problem, without_clusters), other_kernels);
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  expect_without_clusters(op, forward_problem);
  expect_warning({"pre_forward n=4 D=256 bf16 gamma sm_90a", "plans without clusters serve it", "cluster of"});
  EXPECT_EQ(counters(engine).fallbacks, 1u);

  const int loads = driver().calls("cuLibraryLoadData");
  EXPECT_EQ(prepare(engine, forward_problem), op);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), loads);
  EXPECT_EQ(warnings.size(), 1u);
  EXPECT_EQ(counters(engine).fallbacks, 1u);
}

TEST_F(FallBackTest, AWholeDeviceRunsWhatWasChosen) {
  const EnginePtr engine = make_engine();
  prepare(engine, forward_problem);
  driver().clusters_at_once = 1;
  driver().set_current_device(1);
  const mhcjit_operator* op = prepare(engine, forward_problem);
  const ForwardCall call(forward_problem, buckets_of(forward_problem).rbegin()[1].max_tokens + 1, 0);
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().back().kernel, "mhcjit_pre_forward_one_pass");
  EXPECT_EQ(counters(engine).fallbacks, 1u);
}

TEST_F(FallBackTest, AnErrorForTheClusterSizeIsNoClusterToo) {
  driver().clusters_at_once = 7;
  driver().fail("cuOccupancyMaxActiveClusters", CUDA_ERROR_INVALID_CLUSTER_SIZE);
  expect_without_clusters(prepare(make_engine(), forward_problem), forward_problem);
  expect_warning({"cluster of"});
}

// Eight streams are too many for one pass. Of fp16 no rows were measured.
TEST_F(FallBackTest, TwoPassesGiveWayToo) {
  const mhcjit_problem wide = {.op = MHCJIT_PRE_FORWARD, .n = 8, .d = 2048, .dtype = MHCJIT_FP16};
  ASSERT_EQ(buckets_of(wide)[1].plan->family(), "two_pass");
  ASSERT_TRUE(buckets_of(wide)[1].plan->uses_clusters());
  for (const char* wanted : {"", "one_pass"}) {  // which does not fit: the library chooses
    warnings.clear();
    expect_without_clusters(prepare(make_engine(wanted), wide), wide);
    expect_warning({"pre_forward n=8 D=2048", "pre_forward_few_tokens", "cluster of 16"});
  }
}

TEST_F(FallBackTest, BackwardGivesWayToo) {
  ASSERT_TRUE(buckets_of(backward_problem).back().plan->uses_clusters());
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, backward_problem);
  const std::vector<codegen::Bucket> without = buckets_of(backward_problem, without_clusters);
  for (const std::int64_t T : {1, 5000}) {
    const codegen::Plan& plan = *codegen::bucket_of(without, T).plan;
    EXPECT_EQ(workspace_bytes(op, T), plan.workspace_bytes(T));
    // Nothing runs, so the tensors may be of one token.
    BackwardCall call(backward_problem, 1, workspace_bytes(op, T));
    call.args.T = T;
    const std::size_t before = driver().launches().size();
    ASSERT_EQ(mhcjit_pre_backward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    const std::vector<fake::Launch> launches = driver().launches();
    ASSERT_EQ(launches.size() - before, plan.kernels().size());
    for (std::size_t i = 0; i < plan.kernels().size(); ++i)
      EXPECT_EQ(launches[before + i].kernel, plan.kernels()[i].entry());
  }
  expect_warning({"pre_backward n=4 D=256", "plans without clusters serve it", "mhcjit_pre_backward_dx"});
  EXPECT_EQ(counters(engine).fallbacks, 1u);
}

TEST_F(FallBackTest, WhatHasNoClustersStays) {
  mhcjit_problem large = forward_problem;
  large.n = 16;
  large.batch_invariant = 1;
  ASSERT_FALSE(buckets_of(large).front().plan->uses_clusters());
  const EnginePtr engine = make_engine();
  prepare(engine, large);
  prepare(make_engine("portable clusters=0"), backward_problem);
  prepare(make_engine(plan_without_clusters), forward_problem);
  EXPECT_EQ(warnings, std::vector<std::string>{});
  EXPECT_EQ(counters(engine).fallbacks, 0u);
}

TEST_F(FallBackTest, TheKernelsOfBothAreFoundInTheCache) {
  prepare(make_engine(), forward_problem);
  EXPECT_EQ(compiler().compiles, chosen_kernels + other_kernels);
  const EnginePtr engine = strict_engine();
  expect_without_clusters(prepare(engine, forward_problem), forward_problem);
  EXPECT_EQ(counters(engine).disk_hits, static_cast<std::uint64_t>(chosen_kernels + other_kernels));
  EXPECT_EQ(compiler().compiles, chosen_kernels + other_kernels);
}

TEST_F(FallBackTest, AKernelOfTheOtherPlanThatTheDriverRefusesIsCompiledAnew) {
  prepare(make_engine(), forward_problem);
  compiler().take_compiled();
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE, chosen_kernels + 1);
  expect_without_clusters(prepare(make_engine(), forward_problem), forward_problem);
  EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{"mhcjit_pre_forward_pack_phi"})
      << "what was not refused was compiled anew";
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), 2 * (chosen_kernels + other_kernels) + 1);
}

TEST_F(FallBackTest, WhereCompilingIsForbiddenTheErrorNamesTheWarmUp) {
  compile(make_engine());
  const EnginePtr engine = strict_engine();
  for (int attempt = 0; attempt < 2; ++attempt) {
    const mhcjit_operator* op = nullptr;
    expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                   MHCJIT_ERROR_NOT_IN_CACHE, {" MHCJIT_PLAN='clusters=0' mhcjit warmup --n 4 "});
  }
  expect_warning({"pre_forward n=4 D=256"});
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), chosen_kernels) << "what the device cannot run was tried again";

  compile(make_engine(without_clusters.c_str()));
  expect_without_clusters(prepare(engine, forward_problem), forward_problem);
  EXPECT_EQ(warnings.size(), 1u);
}

TEST_F(FallBackTest, AmongThreadsItHappensOnce) {
  compiler().duration = std::chrono::milliseconds(20);
  const EnginePtr engine = make_engine();
  std::vector<std::thread> threads;
  std::vector<const mhcjit_operator*> ops(8);
  for (const mhcjit_operator*& op : ops)
    threads.emplace_back([&] {
      driver().set_current_device(0);
      op = prepare(engine, forward_problem);
    });
  for (std::thread& thread : threads) thread.join();
  for (const mhcjit_operator* op : ops) EXPECT_EQ(op, ops[0]);
  EXPECT_EQ(compiler().compiles, chosen_kernels + other_kernels);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), chosen_kernels + other_kernels);
  EXPECT_EQ(warnings.size(), 1u);
}

}  // namespace
}  // namespace mhcjit::test
