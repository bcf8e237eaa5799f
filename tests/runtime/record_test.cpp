// A running program writes down what no cache folder had, in the form that a warm-up reads: each problem once, also
// when compiling it is forbidden; and a file that cannot be written costs a warning.
#include <cstdlib>

#include <sys/resource.h>

#include "tests/runtime/fake_gpu.h"
#include "tools/shapes.h"

namespace mhcjit::test {
namespace {

class RecordTest : public FakeGpuTest {
 protected:
  void TearDown() override { ::unsetenv("MHCJIT_RECORD"); }

  EnginePtr engine_with(const char* record, bool no_compile = false) {
    mhcjit_engine_options chosen = options();
    chosen.record_path = record;
    chosen.no_compile = no_compile ? 1 : 0;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  static mhcjit_status compile(const EnginePtr& engine, const mhcjit_problem& problem,
                               const char* architecture = "sm_90a") {
    return mhcjit_compile(engine.get(), &problem, architecture, nullptr);
  }

  const std::string record = folder / "history.jsonl";
  static constexpr char forward_line[] =
      R"({"n":4,"d":256,"dtype":"bf16","gamma":true,"batch_invariant":false,"fp32_dx":false,"ops":["pre_forward"]})"
      "\n";
  static constexpr char backward_line[] =
      R"({"n":4,"d":256,"dtype":"bf16","gamma":true,"batch_invariant":false,"fp32_dx":false,"ops":["pre_backward"]})"
      "\n";
};

TEST_F(RecordTest, EachMissIsALineOnceAndAHitIsNone) {
  const EnginePtr engine = engine_with(record.c_str());
  EXPECT_FALSE(std::filesystem::exists(record));
  EXPECT_EQ(compile(engine, forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(compile(engine, forward_problem), MHCJIT_SUCCESS);
  EXPECT_EQ(compile(engine, forward_problem, "sm_80"), MHCJIT_SUCCESS) << "another architecture is the same shape";
  EXPECT_EQ(compile(engine_with(record.c_str()), forward_problem), MHCJIT_SUCCESS);
  EXPECT_EQ(read_file(record), forward_line);
  std::filesystem::remove_all(cache_dir);
  EXPECT_EQ(compile(engine_with(record.c_str()), forward_problem), MHCJIT_SUCCESS);
  EXPECT_EQ(read_file(record), forward_line) << "another engine of the process wrote it again";
  EXPECT_EQ(compile(engine, backward_problem), MHCJIT_SUCCESS);
  EXPECT_EQ(read_file(record), std::string(forward_line) + backward_line);
  EXPECT_TRUE(warnings.empty()) << warnings[0];
}

TEST_F(RecordTest, ARefusedMissAndAFailedCompileAreRecordedToo) {
  expect_failure(compile(engine_with(record.c_str(), /*no_compile=*/true), backward_problem), MHCJIT_ERROR_NOT_IN_CACHE,
                 {});
  compiler().result = NVRTC_ERROR_COMPILATION;
  expect_failure(compile(engine_with(record.c_str()), forward_problem), MHCJIT_ERROR_COMPILATION_FAILED, {});
  EXPECT_EQ(read_file(record), std::string(backward_line) + forward_line);
}

TEST_F(RecordTest, TheVariableNamesTheFileToo) {
  ASSERT_EQ(::setenv("MHCJIT_RECORD", record.c_str(), 1), 0);
  EXPECT_EQ(compile(engine_with(""), backward_problem), MHCJIT_SUCCESS);
  EXPECT_FALSE(std::filesystem::exists(record)) << "the option overrides the variable";
  EXPECT_EQ(compile(engine_with(nullptr), forward_problem), MHCJIT_SUCCESS);
  EXPECT_EQ(read_file(record), forward_line);
}

TEST_F(RecordTest, WarmUpReadsWhatWasRecorded) {
  const EnginePtr engine = engine_with(record.c_str(), /*no_compile=*/true);
  std::vector<codegen::Problem> asked;
  for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD})
    for (const int n : {1, 16})
      for (const mhcjit_dtype dtype : {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32})
        for (int flags = 0; flags < (op == MHCJIT_PRE_BACKWARD ? 8 : 4); ++flags) {
          const mhcjit_problem problem = {.op = op,
                                          .n = n,
                                          .d = 7 + n,
                                          .dtype = dtype,
                                          .has_gamma = flags & 1,
                                          .batch_invariant = flags >> 1 & 1,
                                          .fp32_dx = flags >> 2};
          expect_failure(compile(engine, problem), MHCJIT_ERROR_NOT_IN_CACHE, {});
          llvm::Expected<codegen::Problem> same = codegen::from_public(problem, {});
          ASSERT_TRUE(static_cast<bool>(same));
          asked.push_back(*same);
        }
  auto read = tools::read_shapes(record);
  ASSERT_TRUE(static_cast<bool>(read)) << llvm::toString(read.takeError());
  EXPECT_EQ(read->problems, asked);
  EXPECT_EQ(read->cut_lines, std::vector<std::string>{});
}

// The disk is full in the middle of a record, and has room again for the next one.
TEST_F(RecordTest, WhatFollowsACutRecordBeginsALine) {
  constexpr std::size_t room = 20;
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit full = {sizeof(forward_line) - 1 + room, before.rlim_max};
  const EnginePtr engine = engine_with(record.c_str(), /*no_compile=*/true);
  compile(engine, forward_problem);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  compile(engine, backward_problem);
  EXPECT_EQ(compile(engine, forward_problem), MHCJIT_ERROR_NOT_IN_CACHE) << "not the end of the process";
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  const std::string cut = forward_line + std::string(backward_line).substr(0, room);
  EXPECT_EQ(read_file(record), cut);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("No space left on device"), std::string::npos) << warnings[0];

  compile(engine, backward_problem);
  EXPECT_EQ(read_file(record), cut + "\n" + backward_line) << "it is recorded after all";
  auto read = tools::read_shapes(record);
  ASSERT_TRUE(static_cast<bool>(read)) << llvm::toString(read.takeError());
  EXPECT_EQ(read->problems.size(), 2u);
  EXPECT_EQ(read->cut_lines, std::vector<std::string>{record + ": line 2"});
}

TEST_F(RecordTest, AFileThatCannotBeWrittenIsOneWarning) {
  const std::string nowhere = folder / "no/such/folder/history";
  const EnginePtr engine = engine_with(nowhere.c_str());
  EXPECT_EQ(compile(engine, forward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(compile(engine, backward_problem), MHCJIT_SUCCESS) << mhcjit_last_error();
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find(nowhere), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[0].find("MHCJIT_RECORD"), std::string::npos) << warnings[0];
}

}  // namespace
}  // namespace mhcjit::test
