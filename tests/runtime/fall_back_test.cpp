// A device that cannot run even one cluster, like a MIG slice: what the library would choose for whole devices gives
// way to the portable template, once, with a warning, from the cache like any other kernel.
#include <thread>

#include "codegen/heuristic.h"
#include "codegen/workspace.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

// Of forward_problem, each loaded by a call of its own.
constexpr int chosen_kernels = 2;
constexpr int portable_kernels = 3;

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

  static mhcjit_counters counters(const EnginePtr& engine) {
    mhcjit_counters counters = {};
    EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
    return counters;
  }

  static codegen::KernelSpec spec(const mhcjit_problem& problem,
                                  std::optional<codegen::KernelTemplate> wanted = std::nullopt) {
    return llvm::cantFail(codegen::choose_spec(llvm::cantFail(codegen::from_public(problem, {9, 0, 'a'})), wanted));
  }

  // Whatever T is, the launches are those of the portable template alone.
  static void expect_portable(const mhcjit_operator* op, const mhcjit_problem& problem) {
    const codegen::KernelSpec portable = spec(problem, codegen::KernelTemplate::portable);
    for (const std::int64_t T : {std::int64_t{1}, spec(problem).few_max_tokens + 1}) {
      EXPECT_EQ(workspace_bytes(op, T), codegen::workspace_bytes(portable, T));
      const ForwardCall call(problem, T, workspace_bytes(op, T));
      const std::size_t before = driver().launches().size();
      ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
      const std::vector<fake::Launch> launches = driver().launches();
      const std::vector<codegen::StagePlan> plans = codegen::stages(portable);
      ASSERT_EQ(launches.size() - before, plans.size());
      for (std::size_t i = 0; i < plans.size(); ++i) {
        EXPECT_EQ(launches[before + i].kernel, plans[i].entry());
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

TEST_F(FallBackTest, ThePortableTemplateServes) {
  ASSERT_EQ(spec(forward_problem).kernel_template, codegen::KernelTemplate::one_pass);
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  expect_portable(op, forward_problem);
  expect_warning(
      {"pre_forward n=4 D=256 bf16 gamma sm_90a", "portable template", "pre_forward_one_pass", "cluster of"});
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
  const ForwardCall call(forward_problem, spec(forward_problem).few_max_tokens + 1, 0);
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().back().kernel, "mhcjit_pre_forward_one_pass");
  EXPECT_EQ(counters(engine).fallbacks, 1u);
}

TEST_F(FallBackTest, AnErrorForTheClusterSizeIsNoClusterToo) {
  driver().clusters_at_once = 7;
  driver().fail("cuOccupancyMaxActiveClusters", CUDA_ERROR_INVALID_CLUSTER_SIZE);
  expect_portable(prepare(make_engine(), forward_problem), forward_problem);
  expect_warning({"cluster of"});
}

// Eight streams are too many for one pass.
TEST_F(FallBackTest, TwoPassesGiveWayToo) {
  const mhcjit_problem wide = {MHCJIT_PRE_FORWARD, 8, 2048, MHCJIT_BF16, 0, 0};
  ASSERT_EQ(spec(wide).kernel_template, codegen::KernelTemplate::two_pass);
  ASSERT_GT(spec(wide).few_max_tokens, 0);
  for (const char* wanted : {"", "one_pass"}) {  // which does not fit: the library chooses
    warnings.clear();
    expect_portable(prepare(make_engine(wanted), wide), wide);
    expect_warning({"pre_forward n=8 D=2048", "pre_forward_project_wgmma", "cluster of 8"});
  }
}

TEST_F(FallBackTest, WhatHasNoClustersStays) {
  mhcjit_problem large = forward_problem;
  large.n = 16;
  ASSERT_EQ(spec(large).kernel_template, codegen::KernelTemplate::portable);
  const EnginePtr engine = make_engine();
  prepare(engine, large);
  prepare(engine, backward_problem);
  prepare(make_engine("portable"), forward_problem);
  EXPECT_EQ(warnings, std::vector<std::string>{});
  EXPECT_EQ(counters(engine).fallbacks, 0u);
}

TEST_F(FallBackTest, BothEntriesAreFoundInTheCache) {
  prepare(make_engine(), forward_problem);
  EXPECT_EQ(compiler().compiles, 2);
  const EnginePtr engine = strict_engine();
  expect_portable(prepare(engine, forward_problem), forward_problem);
  EXPECT_EQ(counters(engine).disk_hits, 2u);
  EXPECT_EQ(compiler().compiles, 2);
}

TEST_F(FallBackTest, APortableEntryThatTheDriverRefusesIsCompiledAnew) {
  prepare(make_engine(), forward_problem);
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE, chosen_kernels + 1);
  expect_portable(prepare(make_engine(), forward_problem), forward_problem);
  EXPECT_EQ(compiler().compiles, 3);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"),
            chosen_kernels + portable_kernels + chosen_kernels + 1 + portable_kernels)
      << "the other template was compiled anew";
}

TEST_F(FallBackTest, WhereCompilingIsForbiddenTheErrorNamesTheWarmUp) {
  compile(make_engine());
  const EnginePtr engine = strict_engine();
  for (int attempt = 0; attempt < 2; ++attempt) {
    const mhcjit_operator* op = nullptr;
    expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                   MHCJIT_ERROR_NOT_IN_CACHE, {" MHCJIT_TEMPLATE=portable mhcjit warmup --n 4 "});
  }
  expect_warning({"pre_forward n=4 D=256"});
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), chosen_kernels) << "what the device cannot run was tried again";

  compile(make_engine("portable"));
  expect_portable(prepare(engine, forward_problem), forward_problem);
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
  EXPECT_EQ(compiler().compiles, 2);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), chosen_kernels + portable_kernels);
  EXPECT_EQ(warnings.size(), 1u);
}

}  // namespace
}  // namespace mhcjit::test
