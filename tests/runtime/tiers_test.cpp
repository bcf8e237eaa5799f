// An engine searches the folders that an image brings below its own, copies what it finds there, and never writes them;
// the option and the variable name them alike, and the counters tell the folders apart.
#include <cstdlib>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class EngineTiers : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    // Warmed where the image was made.
    const std::string own = std::exchange(cache_dir, image);
    compile(make_engine());
    cache_dir = own;
    ASSERT_EQ(compiler().compiles, kernels);
  }
  void TearDown() override { ::unsetenv("MHCJIT_CACHE_RO"); }

  EnginePtr engine_with(const char* read_only_cache_dirs) {
    mhcjit_engine_options chosen = options();
    chosen.read_only_cache_dirs = read_only_cache_dirs;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  // Whether it was in the cache.
  static bool compile(const EnginePtr& engine, const mhcjit_problem& problem = forward_problem) {
    mhcjit_compile_result result = {};
    EXPECT_EQ(mhcjit_compile(engine.get(), &problem, "sm_90a", &result), MHCJIT_SUCCESS) << mhcjit_last_error();
    return result.cache_hit != 0;
  }

  // Kernels of forward_problem, an entry each.
  const int kernels = kernel_count(forward_problem);
  const std::string image = folder / "image";
  const std::string list = (folder / "absent") + "::" + image;
};

TEST_F(EngineTiers, WhatAnImageHasIsLoadedAndCopied) {
  const EnginePtr engine = engine_with(list.c_str());
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
  EXPECT_EQ(counters(engine).disk_hits, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(counters(engine).read_only_hits, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(counters(engine).promotions, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(counters(engine).misses, 0u);
  EXPECT_EQ(counters(engine).lock_timeouts, 0u);

  const EnginePtr next = engine_with("");
  EXPECT_NE(prepare(next, forward_problem), nullptr) << "the copy serves without the image";
  EXPECT_EQ(counters(next).disk_hits, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(counters(next).read_only_hits, 0u);
  EXPECT_EQ(read_file(cache_dir + "/compiler_identity"), read_file(image + "/compiler_identity"));
  EXPECT_EQ(compiler().compiles, kernels);
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

TEST_F(EngineTiers, TheVariableServesWhereTheOptionIsNull) {
  ASSERT_EQ(::setenv("MHCJIT_CACHE_RO", list.c_str(), 1), 0);
  EXPECT_FALSE(compile(engine_with(""))) << "the option overrides the variable";
  std::filesystem::remove_all(cache_dir);
  EXPECT_TRUE(compile(engine_with(nullptr)));
}

TEST_F(EngineTiers, ARelativeFolderIsTakenFromTheCurrentOneWhenTheEngineIsMade) {
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  const EnginePtr engine = engine_with("image");
  std::filesystem::current_path(before);
  EXPECT_TRUE(compile(engine));
}

TEST_F(EngineTiers, AMissIsCompiledIntoTheOwnFolderAlone) {
  const int files = folder.file_count();
  const EnginePtr engine = engine_with(list.c_str());
  EXPECT_FALSE(compile(engine, backward_problem));
  const int missing = kernel_count(backward_problem);
  EXPECT_EQ(counters(engine).misses, static_cast<std::uint64_t>(missing));
  EXPECT_EQ(counters(engine).promotions, 0u);
  EXPECT_EQ(folder.file_count(), files + missing + 2) << "entries, the compiler's record and the lock";
  EXPECT_TRUE(compile(engine_with(""), backward_problem));
}

// The copy is what the driver refused, so it is the copy that is replaced.
TEST_F(EngineTiers, AKernelOfTheImageThatTheDriverRefusesIsCompiledAnew) {
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
  const EnginePtr engine = engine_with(image.c_str());
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
  EXPECT_EQ(counters(engine).read_only_hits, static_cast<std::uint64_t>(kernels));
  EXPECT_EQ(counters(engine).misses, 1u);
  EXPECT_EQ(compiler().compiles, kernels + 1);
  const EnginePtr next = engine_with(image.c_str());
  EXPECT_NE(prepare(next, forward_problem), nullptr);
  EXPECT_EQ(counters(next).read_only_hits, 0u) << "the own folder has the new one";
  EXPECT_EQ(compiler().compiles, kernels + 1);
}

}  // namespace
}  // namespace mhcjit::test
