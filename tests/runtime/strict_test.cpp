// Production runs with compiling forbidden: a kernel that was warmed is found, in the own folder or in a read-only one,
// and one that was not is an error that says which warm-up would have covered it.
#include <dlfcn.h>

#include <cstdlib>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class StrictTest : public FakeGpuTest {
 protected:
  const int kernels = kernel_count(forward_problem);

  void TearDown() override {
    ::unsetenv("MHCJIT_NO_COMPILE");
    ::unsetenv("MHCJIT_CACHE_RO");
  }

  EnginePtr strict_engine(const char* read_only_folders = nullptr) {
    mhcjit_engine_options chosen = options();
    chosen.no_compile = 1;
    chosen.read_only_cache_dirs = read_only_folders;
    return create(chosen);
  }

  static EnginePtr create(const mhcjit_engine_options& chosen) {
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  static mhcjit_status compile(const EnginePtr& engine, const mhcjit_problem& problem) {
    return mhcjit_compile(engine.get(), &problem, "sm_90a", nullptr);
  }
};

TEST_F(StrictTest, AMissNamesTheProblemAndTheWarmUp) {
  const EnginePtr engine = strict_engine();
  expect_failure(compile(engine, forward_problem), MHCJIT_ERROR_NOT_IN_CACHE,
                 {"pre_forward n=4 D=256 bf16 gamma sm_90a is in no cache folder (" + cache_dir + ")",
                  "mhcjit warmup --n 4 --d 256 --dtype bf16 --gamma --arch sm_90a --cache-dir '" + cache_dir + "'"});
  mhcjit_problem plain = backward_problem;
  plain.has_gamma = 0;
  plain.dtype = MHCJIT_FP32;
  expect_failure(compile(engine, plain), MHCJIT_ERROR_NOT_IN_CACHE,
                 {"mhcjit warmup --n 4 --d 256 --dtype fp32 --arch sm_90a"});
  mhcjit_problem invariant = forward_problem;
  invariant.batch_invariant = 1;
  expect_failure(compile(engine, invariant), MHCJIT_ERROR_NOT_IN_CACHE,
                 {"mhcjit warmup --n 4 --d 256 --dtype bf16 --gamma --batch-invariant --arch sm_90a"});
  mhcjit_problem fp32_dx = backward_problem;
  fp32_dx.fp32_dx = 1;
  expect_failure(compile(engine, fp32_dx), MHCJIT_ERROR_NOT_IN_CACHE,
                 {"mhcjit warmup --n 4 --d 256 --dtype bf16 --gamma --fp32-dx --arch sm_90a"});
  mhcjit_engine_options chosen = options();
  chosen.no_compile = 1;
  chosen.plan = plan_without_clusters;
  expect_failure(compile(create(chosen), forward_problem), MHCJIT_ERROR_NOT_IN_CACHE,
                 {" MHCJIT_PLAN='two_pass cluster_size=0' mhcjit warmup --n 4 "});
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NOT_IN_CACHE, {"warmup"});
  EXPECT_EQ(compiler().compiles, 0);
  EXPECT_FALSE(std::filesystem::exists(cache_dir)) << "a refusal wrote something";
}

TEST_F(StrictTest, WhatWasWarmedIsFound) {
  ASSERT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  const EnginePtr engine = strict_engine();
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
  EXPECT_EQ(counters(engine).misses, 0u);
  EXPECT_EQ(counters(engine).disk_hits, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(compiler().compiles, kernels);
}

// An entry that is missing is named as its problem, and nothing is compiled in its place.
TEST_F(StrictTest, OneKernelThatIsMissingIsAMiss) {
  ASSERT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  for (const auto& entry : std::filesystem::directory_iterator(cache_dir))
    if (entry.path().extension() == ".mhcjit") {
      std::filesystem::remove(entry);
      break;
    }
  expect_failure(compile(strict_engine(), forward_problem), MHCJIT_ERROR_NOT_IN_CACHE,
                 {"pre_forward n=4 D=256 bf16 gamma sm_90a is in no cache folder", "mhcjit warmup --n 4"});
  EXPECT_EQ(compiler().compiles, kernels);
}

TEST_F(StrictTest, TheCompilerIsNeverOpened) {
  // Another file than the one that the other tests of this process have open.
  std::filesystem::create_directory(folder / "nvrtc");
  for (const char* name : {"libnvrtc.so.13", "libnvrtc-builtins.so.13.0"})
    std::filesystem::copy_file(std::filesystem::path(FAKE_NVRTC).replace_filename(name), folder / "nvrtc/" + name);
  nvrtc_path = folder / "nvrtc/libnvrtc.so.13";
  const auto is_open = [&] {
    void* const library = ::dlopen(nvrtc_path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library != nullptr) ::dlclose(library);
    return library != nullptr;
  };
  const EnginePtr engine = strict_engine();
  expect_failure(compile(engine, forward_problem), MHCJIT_ERROR_NOT_IN_CACHE, {});
  EXPECT_FALSE(is_open());
  EXPECT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_TRUE(is_open()) << "the test cannot see a compiler that is open";
}

TEST_F(StrictTest, ACompilerThatWasNamedAndIsMissingIsReported) {
  nvrtc_path = folder / "libnvrtc.so.13";
  expect_failure(compile(strict_engine(), forward_problem), MHCJIT_ERROR_NO_NVRTC, {nvrtc_path});
}

TEST_F(StrictTest, WhatWasWarmedIntoAnImageIsFoundAndCopied) {
  const std::string image = folder / "image";
  std::string own = cache_dir;
  cache_dir = image;
  ASSERT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  cache_dir = own;
  const std::string list = (folder / "absent") + ":" + image;
  for (const bool by_variable : {false, true}) {
    std::filesystem::remove_all(own);
    if (by_variable) {
      ASSERT_EQ(::setenv("MHCJIT_CACHE_RO", list.c_str(), 1), 0);
    }
    const EnginePtr engine = strict_engine(by_variable ? nullptr : list.c_str());
    EXPECT_NE(prepare(engine, forward_problem), nullptr);
    EXPECT_EQ(counters(engine).disk_hits, static_cast<std::uint64_t>(kernels));
    EXPECT_EQ(counters(engine).read_only_hits, static_cast<std::uint64_t>(kernels));
    EXPECT_EQ(counters(engine).promotions, static_cast<std::uint64_t>(kernels));
    // The option's "" overrides the variable.
    EXPECT_EQ(compile(strict_engine(""), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
    std::filesystem::remove_all(own);
    expect_failure(compile(strict_engine(""), forward_problem), MHCJIT_ERROR_NOT_IN_CACHE, {});
  }
  EXPECT_EQ(compiler().compiles, kernels);
}

TEST_F(StrictTest, TheVariableForbidsToo) {
  for (const char* value : {"0", ""}) {
    ASSERT_EQ(::setenv("MHCJIT_NO_COMPILE", value, 1), 0);
    EXPECT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  }
  ASSERT_EQ(::setenv("MHCJIT_NO_COMPILE", "1", 1), 0);
  expect_failure(compile(make_engine(), backward_problem), MHCJIT_ERROR_NOT_IN_CACHE, {"MHCJIT_NO_COMPILE"});
  ASSERT_EQ(::setenv("MHCJIT_NO_COMPILE", "yes", 1), 0);
  mhcjit_engine* engine = nullptr;
  mhcjit_engine_options chosen = options();
  expect_failure(mhcjit_engine_create(&chosen, &engine), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"MHCJIT_NO_COMPILE is 'yes'", "allowed: 0 and 1"});
  ASSERT_EQ(::unsetenv("MHCJIT_NO_COMPILE"), 0);
  chosen.no_compile = 2;
  expect_failure(mhcjit_engine_create(&chosen, &engine), MHCJIT_ERROR_INVALID_ARGUMENT, {"no_compile is 2"});
}

TEST_F(StrictTest, ACachedKernelThatTheDriverRefusesIsNotCompiledAnew) {
  ASSERT_EQ(compile(make_engine(), forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(strict_engine().get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {"refused the cached kernel", "no_compile", "CUDA_ERROR_INVALID_IMAGE"});
  EXPECT_EQ(compiler().compiles, kernels);
}

}  // namespace
}  // namespace mhcjit::test
