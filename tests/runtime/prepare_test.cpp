// Preparing: each kernel is compiled once and loaded once however often and from wherever it is asked for; one that the
// driver refuses is compiled anew, once; nothing disturbs a capture; an unusable cache folder costs a warning and no
// launch.
#include <algorithm>
#include <barrier>
#include <thread>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

// Each is compiled, kept and loaded by itself.
constexpr int forward_kernels = 3;

class PrepareTest : public FakeGpuTest {
 protected:
  const int backward_kernels = kernel_count(backward_problem);
};

TEST_F(PrepareTest, TheseProblemsHaveSeveralKernels) {
  EXPECT_EQ(kernel_count(forward_problem), forward_kernels);
  EXPECT_GT(backward_kernels, 1);
}

TEST_F(PrepareTest, CreatingAnEngineTouchesNothing) {
  driver_path = nvrtc_path = "/nonexistent/library.so";
  const EnginePtr engine = make_engine();
  EXPECT_EQ(driver().calls("cuInit"), 0);
  EXPECT_EQ(folder.file_count(), 0);
}

TEST_F(PrepareTest, TheSecondCallIsALookUp) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  driver().reset();
  driver().set_current_device(0);
  EXPECT_EQ(prepare(engine, forward_problem), op);
  EXPECT_EQ(compiler().compiles, forward_kernels);
  ASSERT_EQ(driver().call_counts.size(), 1u) << "only the current device is asked for";
  EXPECT_EQ(driver().calls("cuCtxGetDevice"), 1);
  EXPECT_EQ(counters(engine).memory_hits, 1u);
  EXPECT_EQ(counters(engine).misses, std::uint64_t{forward_kernels});
  EXPECT_GT(counters(engine).load_us, 0.0);
  EXPECT_GT(counters(engine).compile_ms, 0.0);
}

TEST_F(PrepareTest, TheKernelsOfAnOperatorAreCompiledAtTheSameTime) {
  const EnginePtr engine = make_engine();
  compiler().duration = std::chrono::milliseconds(100);
  prepare(engine, backward_problem);
  EXPECT_EQ(compiler().compiles, backward_kernels);
  EXPECT_EQ(compiler().most_units_at_once,
            std::min(backward_kernels, static_cast<int>(std::thread::hardware_concurrency())));
}

TEST_F(PrepareTest, ManyThreadsCompileAndLoadOnce) {
  const EnginePtr engine = make_engine();
  compiler().duration = std::chrono::milliseconds(50);
  constexpr int count = 12;
  std::barrier start(count);
  std::vector<const mhcjit_operator*> ops(count);
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      driver().set_current_device(0);
      start.arrive_and_wait();
      ops[i] = prepare(engine, backward_problem);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiler().compiles, backward_kernels);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), load_count(backward_problem));
  for (const mhcjit_operator* op : ops) EXPECT_EQ(op, ops[0]);
}

TEST_F(PrepareTest, AFailureReachesEveryWaiterAndIsNotKept) {
  const EnginePtr engine = make_engine();
  compiler().duration = std::chrono::milliseconds(50);
  compiler().result = NVRTC_ERROR_COMPILATION;
  std::barrier start(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      driver().set_current_device(0);
      start.arrive_and_wait();
      const mhcjit_operator* op = nullptr;
      expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                     MHCJIT_ERROR_COMPILATION_FAILED, {"told to refuse"});
    });
  for (std::thread& thread : threads) thread.join();
  compiler().result = NVRTC_SUCCESS;
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
}

TEST_F(PrepareTest, TwoEnginesShareTheCacheFolder) {
  const EnginePtr first = make_engine();
  prepare(first, forward_problem);
  const EnginePtr second = make_engine();
  prepare(second, forward_problem);
  EXPECT_EQ(compiler().compiles, forward_kernels);
  EXPECT_EQ(counters(first).misses, std::uint64_t{forward_kernels});
  EXPECT_EQ(counters(second).misses, 0u);
  EXPECT_EQ(counters(second).disk_hits, std::uint64_t{forward_kernels});
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), 2 * forward_kernels);
}

TEST_F(PrepareTest, OperatorsOfOneEngineOutliveAnother) {
  const EnginePtr first = make_engine();
  const mhcjit_operator* op = prepare(first, forward_problem);
  make_engine().reset();
  const ForwardCall call(forward_problem, 3, workspace_bytes(op, 3));
  EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
}

TEST_F(PrepareTest, EachDeviceIsLoadedAndNoneIsCompiledTwice) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* on_first = prepare(engine, forward_problem);
  driver().set_current_device(1);
  const mhcjit_operator* on_second = prepare(engine, forward_problem);
  EXPECT_NE(on_first, on_second);
  EXPECT_EQ(compiler().compiles, forward_kernels);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), 2 * forward_kernels);
  const ForwardCall call(forward_problem, 3, workspace_bytes(on_second, 3));
  EXPECT_EQ(mhcjit_pre_forward(on_second, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().back().device, 1);
}

TEST_F(PrepareTest, WarmUpWithoutADriverIsFoundByPrepare) {
  driver_path = "/nonexistent/libcuda.so.1";
  mhcjit_compile_result result = {};
  ASSERT_EQ(mhcjit_compile(make_engine().get(), &forward_problem, "sm_90a", &result), MHCJIT_SUCCESS)
      << mhcjit_last_error();
  EXPECT_EQ(result.cache_hit, 0);
  EXPECT_GT(result.cubin_bytes, 0u);
  EXPECT_GT(result.milliseconds, 0.0);
  EXPECT_EQ(std::string(result.digest).size(), 64u);
  mhcjit_compile_result again = {};
  ASSERT_EQ(mhcjit_compile(make_engine().get(), &forward_problem, "sm_90a", &again), MHCJIT_SUCCESS);
  EXPECT_EQ(again.cache_hit, 1);
  EXPECT_STREQ(again.digest, result.digest);

  driver_path = FAKE_DRIVER;
  const EnginePtr engine = make_engine();
  prepare(engine, forward_problem);
  EXPECT_EQ(compiler().compiles, forward_kernels);
  EXPECT_EQ(counters(engine).disk_hits, std::uint64_t{forward_kernels});
}

TEST_F(PrepareTest, WithoutACacheFolderMemoryServes) {
  cache_dir = "";
  const EnginePtr engine = make_engine();
  mhcjit_compile_result result = {};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", &result), MHCJIT_SUCCESS);
    EXPECT_EQ(result.cache_hit, i);
  }
  prepare(engine, forward_problem);
  EXPECT_EQ(compiler().compiles, forward_kernels);
}

TEST_F(PrepareTest, ACacheFolderThatCannotBeUsedIsAWarning) {
  write_file(cache_dir, "a file where the folder should be");
  const EnginePtr engine = make_engine();
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
  EXPECT_NE(prepare(engine, backward_problem), nullptr);
  EXPECT_EQ(counters(engine).publish_failures, static_cast<std::uint64_t>(forward_kernels + backward_kernels));
  EXPECT_EQ(warnings.size(), 1u) << "each kind is said once";
}

TEST_F(PrepareTest, SuccessLogsNothing) {
  prepare(make_engine(), forward_problem);
  prepare(make_engine(), forward_problem);
  EXPECT_TRUE(warnings.empty()) << warnings[0];
}

// The last of the kernels is refused; the others stay.
TEST_F(PrepareTest, ARefusedCachedKernelIsCompiledAnewOnce) {
  prepare(make_engine(), forward_problem);
  const std::vector<std::string> kernels = kernels_of(forward_problem);
  for (const char* function : {"cuLibraryLoadData", "cuLibraryGetKernel"}) {
    compiler().take_compiled();
    warnings.clear();
    driver().fail(function,
                  function == std::string("cuLibraryLoadData") ? CUDA_ERROR_INVALID_IMAGE : CUDA_ERROR_NOT_FOUND,
                  forward_kernels);
    const EnginePtr engine = make_engine();
    EXPECT_NE(prepare(engine, forward_problem), nullptr);
    EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{kernels.back()});
    EXPECT_EQ(counters(engine).corrupt_entries, 1u);
    EXPECT_EQ(counters(engine).disk_hits, std::uint64_t{forward_kernels});
    ASSERT_FALSE(warnings.empty());
    EXPECT_NE(warnings[0].find("compiled anew"), std::string::npos) << warnings[0];

    // What replaced it is a hit for the next.
    EXPECT_NE(prepare(make_engine(), forward_problem), nullptr);
    EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{});
  }
}

// The driver of each device refuses it: one compile serves both.
TEST_F(PrepareTest, ACachedKernelThatTwoDevicesRefuseIsCompiledAnewOnce) {
  prepare(make_engine(plan_of_one_kernel), forward_problem);
  compiler().take_compiled();
  const EnginePtr engine = make_engine(plan_of_one_kernel);
  for (const int device : {0, 1}) {
    driver().set_current_device(device);
    driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
    EXPECT_NE(prepare(engine, forward_problem), nullptr);
  }
  EXPECT_EQ(compiler().take_compiled(), std::vector<std::string>{"mhcjit_pre_forward_one_pass"});
}

TEST_F(PrepareTest, AKernelRefusedTwiceIsAnErrorWithBothVersions) {
  prepare(make_engine(), forward_problem);
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE, 1, 2);
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {"CUDA driver 13.0", "NVRTC 13.0", "CUDA_ERROR_INVALID_IMAGE"});
  EXPECT_EQ(compiler().compiles, forward_kernels + 1);
}

TEST_F(PrepareTest, PreparingDoesNotBreakACaptureElsewhere) {
  void* const captured = reinterpret_cast<void*>(std::uintptr_t{0x11});
  void* const mine = reinterpret_cast<void*>(std::uintptr_t{0x22});
  const EnginePtr engine = make_engine();
  driver().begin_capture(captured);
  const mhcjit_operator* op = nullptr;
  EXPECT_EQ(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, mine, &op), MHCJIT_SUCCESS)
      << mhcjit_last_error();
  EXPECT_TRUE(driver().end_capture(captured)) << "the capture was broken";
}

TEST_F(PrepareTest, WhatIsPreparedMayBeAskedForInsideACapture) {
  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x11});
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  driver().begin_capture(stream);
  const mhcjit_operator* again = nullptr;
  EXPECT_EQ(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, stream, &again), MHCJIT_SUCCESS);
  EXPECT_EQ(again, op);
  EXPECT_TRUE(driver().end_capture(stream));
}

// The file says which compiler's entries the folder holds, for machines that have none.
TEST_F(PrepareTest, TheCacheFolderRecordsItsCompiler) {
  prepare(make_engine(), forward_problem);
  const std::string recorded = read_file(cache_dir + "/compiler_identity");
  EXPECT_EQ(recorded.rfind("nvrtc 13.0 ", 0), 0u) << recorded;
}

TEST_F(PrepareTest, TemplatesMayComeFromAFolder) {
  mhcjit_engine_options chosen = options();
  const std::string missing = folder / "templates";
  chosen.template_dir = missing.c_str();
  mhcjit_engine* made = nullptr;
  ASSERT_EQ(mhcjit_engine_create(&chosen, &made), MHCJIT_SUCCESS);
  const EnginePtr engine(made);
  expect_failure(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", nullptr), MHCJIT_ERROR_IO,
                 {"template_dir", missing});

  std::filesystem::create_directories(missing + "/pre_forward");
  write_file(missing + "/pre_forward/args.cuh", "// edited");
  mhcjit_compile_result edited = {}, edited_again = {}, embedded = {};
  ASSERT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", &edited), MHCJIT_SUCCESS) << mhcjit_last_error();
  ASSERT_EQ(mhcjit_compile(make_engine().get(), &forward_problem, "sm_90a", &embedded), MHCJIT_SUCCESS);
  EXPECT_STRNE(edited.digest, embedded.digest) << "other templates are another key";
  write_file(missing + "/pre_forward/args.cuh", "// edited again");
  ASSERT_EQ(mhcjit_engine_create(&chosen, &made), MHCJIT_SUCCESS);
  ASSERT_EQ(mhcjit_compile(EnginePtr(made).get(), &forward_problem, "sm_90a", &edited_again), MHCJIT_SUCCESS);
  EXPECT_STRNE(edited.digest, edited_again.digest);
}

}  // namespace
}  // namespace mhcjit::test
