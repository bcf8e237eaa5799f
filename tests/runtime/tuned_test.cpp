// An engine with a tuned record: its plans serve, the caller is told so, and a record that cannot serve costs a warning
// and nothing else.
#include <cstdlib>
#include <cstring>

#include "tests/codegen/tuned_records.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

using codegen::max_tokens;

class TunedTest : public FakeGpuTest {
 protected:
  void TearDown() override { ::unsetenv("MHCJIT_TUNED"); }

  // A record with these buckets for forward_problem, made on the fake device.
  static std::string record_of(std::vector<codegen::TunedBucket> buckets) {
    codegen::RecordHeader header = codegen::made_up_header();
    header.device = "Fake GPU 0";
    header.multiprocessors = 132;
    return to_line(header) + to_line(choice_of(std::move(buckets)));
  }
  static codegen::TunedChoice choice_of(std::vector<codegen::TunedBucket> buckets) {
    return {llvm::cantFail(codegen::from_public(forward_problem, {9, 0, 'a'})), std::move(buckets), {}};
  }

  EnginePtr engine_with(const char* path, bool no_compile = false, const char* plan = nullptr) {
    mhcjit_engine_options chosen = options();
    chosen.tuned_path = path;
    chosen.no_compile = no_compile ? 1 : 0;
    chosen.plan = plan;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }
  EnginePtr engine_with_record(const std::string& text, bool no_compile = false, const char* plan = nullptr) {
    write_file(path, text);
    return engine_with(path.c_str(), no_compile, plan);
  }

  static mhcjit_plan_info plan_of(const mhcjit_operator* op, std::int64_t T) {
    mhcjit_plan_info info = {};
    EXPECT_EQ(mhcjit_operator_plan(op, T, &info), MHCJIT_SUCCESS) << mhcjit_last_error();
    return info;
  }
  mhcjit_plan_info plan_of(const EnginePtr& engine, std::int64_t T = 1) {
    return plan_of(prepare(engine, forward_problem), T);
  }

  static std::vector<std::string> launched(const mhcjit_operator* op, std::int64_t T) {
    const ForwardCall call(forward_problem, T, workspace_bytes(op, T));
    const std::size_t before = driver().launches().size();
    EXPECT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    std::vector<std::string> kernels;
    const std::vector<fake::Launch> launches = driver().launches();
    for (const fake::Launch& launch : llvm::drop_begin(launches, before)) kernels.push_back(launch.kernel);
    return kernels;
  }

  // One, with all of `parts`.
  void expect_warning(const std::vector<std::string>& parts) {
    ASSERT_EQ(warnings.size(), 1u);
    for (const std::string& part : parts) EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
  }

  // The plans of forward_problem by their whole names.
  static std::string name_of(const std::string& wanted) {
    return to_string(*buckets_of(forward_problem, wanted)[0].plan);
  }
  const std::string one_kernel = name_of(plan_of_one_kernel);
  const std::string other = name_of(plan_without_clusters);
  const std::string estimated = to_string(*buckets_of(forward_problem).front().plan);
  const std::string good = record_of({{50, one_kernel}, {max_tokens, other}});
  const std::string path = folder / "tuned.jsonl";
};

TEST_F(TunedTest, ThePlansOfTheRecordServe) {
  ASSERT_NE(one_kernel, estimated);
  const EnginePtr engine = engine_with_record(good);
  const mhcjit_operator* op = prepare(engine, forward_problem);
  EXPECT_EQ(launched(op, 50), kernels_of(forward_problem, plan_of_one_kernel));
  EXPECT_EQ(launched(op, 51), kernels_of(forward_problem, plan_without_clusters));

  const mhcjit_plan_info few = plan_of(op, 50), many = plan_of(op, 51);
  EXPECT_EQ(few.plan, one_kernel);
  EXPECT_EQ(few.max_t, 50);
  EXPECT_EQ(many.plan, other);
  EXPECT_EQ(many.max_t, max_tokens);
  EXPECT_EQ(few.source, MHCJIT_PLAN_RECORDED);
  EXPECT_EQ(few.grade, MHCJIT_PLAN_EXACT);
  EXPECT_EQ(few.row_d, forward_problem.d);
  EXPECT_STREQ(few.measured_on, "Fake GPU 0");
  EXPECT_STREQ(few.refused, "");
  EXPECT_EQ(std::strlen(few.digest), 64u);
  EXPECT_STREQ(few.digest, many.digest);
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

TEST_F(TunedTest, WithoutARecordTheEstimateIsTold) {
  const EnginePtr engine = engine_with(nullptr);
  const mhcjit_plan_info info = plan_of(engine);
  EXPECT_EQ(info.plan, estimated);
  EXPECT_EQ(info.source, MHCJIT_PLAN_ESTIMATED);
  EXPECT_EQ(info.grade, MHCJIT_PLAN_NOT_MEASURED);
  EXPECT_EQ(info.row_d, 0);
  EXPECT_STREQ(info.measured_on, "");
  EXPECT_EQ(info.max_t, buckets_of(forward_problem).front().max_tokens);
  EXPECT_STRNE(info.digest, plan_of(engine_with_record(good)).digest);
}

TEST_F(TunedTest, TheCpuHasItsOwnPlan) {
  const EnginePtr engine = engine_with(nullptr);
  const mhcjit_operator* op = nullptr;
  ASSERT_EQ(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_CPU, nullptr, &op), MHCJIT_SUCCESS);
  const mhcjit_plan_info info = plan_of(op, 7);
  EXPECT_STREQ(info.plan, "cpu");
  EXPECT_STREQ(info.digest, "");
  EXPECT_EQ(info.max_t, max_tokens);
}

TEST_F(TunedTest, WhatIsAskedOfAPlanIsChecked) {
  const mhcjit_operator* op = prepare(engine_with(nullptr), forward_problem);
  mhcjit_plan_info info = {};
  expect_failure(mhcjit_operator_plan(nullptr, 1, &info), MHCJIT_ERROR_NULL_POINTER, {"op is NULL"});
  expect_failure(mhcjit_operator_plan(op, 1, nullptr), MHCJIT_ERROR_NULL_POINTER, {"info is NULL"});
}

TEST_F(TunedTest, TheVariableNamesTheRecordAndTheOptionOverridesIt) {
  write_file(path, good);
  ASSERT_EQ(::setenv("MHCJIT_TUNED", path.c_str(), 1), 0);
  EXPECT_EQ(plan_of(engine_with(nullptr)).source, MHCJIT_PLAN_RECORDED);
  EXPECT_EQ(plan_of(engine_with("")).source, MHCJIT_PLAN_ESTIMATED);
  EXPECT_EQ(plan_of(engine_with_record(good, false, "two_pass")).source, MHCJIT_PLAN_ESTIMATED);
}

// So that a record costs no compile where the kernels are there.
TEST_F(TunedTest, ARecordDoesNotChangeTheKeysOfKernels) {
  for (const std::string& plan : {one_kernel, other}) prepare(make_engine(plan.c_str()), forward_problem);
  const int compiles = compiler().compiles;
  const EnginePtr engine = engine_with_record(good, /*no_compile=*/true);
  EXPECT_EQ(plan_of(engine).source, MHCJIT_PLAN_RECORDED);
  EXPECT_EQ(compiler().compiles, compiles);
}

TEST_F(TunedTest, WhereCompilingIsForbiddenTheErrorNamesTheRecord) {
  const EnginePtr engine = engine_with_record(good, /*no_compile=*/true);
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_NOT_IN_CACHE, {"mhcjit warmup --n 4 --d 256 ", " --tuned '" + path + "' "});
}

TEST_F(TunedTest, ARecordThatCannotBeUsedIsOneWarning) {
  const auto expect_unused = [&](const EnginePtr& engine, const std::string& part) {
    warnings.clear();
    EXPECT_EQ(plan_of(engine).source, MHCJIT_PLAN_ESTIMATED);
    prepare(engine, backward_problem);
    expect_warning({"the record of tuned_path or MHCJIT_TUNED is not used", path, part});
  };
  expect_unused(engine_with(path.c_str()), "cannot be read");
  expect_unused(engine_with_record("{\"n\":4}\n"), "line 1, which is to be the header of a tuned record");
  expect_unused(engine_with_record(good + "{}\n" + good), "line 3: neither a trial nor a choice");
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  expect_unused(engine_with(path.c_str()), "cannot be read");
}

TEST_F(TunedTest, ALineThatIsStillBeingWrittenIsPassedOver) {
  EXPECT_EQ(plan_of(engine_with_record(good + good.substr(0, 30))).source, MHCJIT_PLAN_RECORDED);
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

TEST_F(TunedTest, APlanThatIsNotLegalGivesWayWithOneWarning) {
  codegen::TunedChoice backward = choice_of({{max_tokens, "portable no_such=1"}});
  backward.problem = llvm::cantFail(codegen::from_public(backward_problem, {9, 0, 'a'}));
  const EnginePtr engine = engine_with_record(record_of({{50, one_kernel}, {max_tokens, "gone"}}) + to_line(backward));
  const mhcjit_plan_info info = plan_of(engine);
  EXPECT_EQ(info.plan, estimated);
  EXPECT_EQ(info.source, MHCJIT_PLAN_ESTIMATED);
  EXPECT_STREQ(info.refused, "record row: plan 'gone': the families list no such plan");
  EXPECT_EQ(plan_of(prepare(engine, backward_problem), 1).source, MHCJIT_PLAN_ESTIMATED);
  expect_warning({"pre_forward n=4 D=256 bf16 gamma sm_90a: plans that were measured do not serve it", "'gone'"});
}

TEST_F(TunedTest, APlanThatDoesNotLoadGivesWayWithOneWarning) {
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE, 1);
  const EnginePtr engine = engine_with_record(good);
  const mhcjit_operator* op = prepare(engine, forward_problem);
  EXPECT_EQ(plan_of(op, 1).plan, estimated);
  EXPECT_EQ(launched(op, 1), launched(prepare(make_engine(), forward_problem), 1));
  expect_warning({"plans that were measured do not serve it", "refused the kernel"});
  EXPECT_EQ(prepare(engine, forward_problem), op);
  EXPECT_EQ(counters(engine).fallbacks, 0u);

  // Another device loads what is measured.
  driver().set_current_device(1);
  warnings.clear();
  EXPECT_EQ(plan_of(engine).source, MHCJIT_PLAN_RECORDED);
}

TEST_F(TunedTest, WhatTheEstimateDoesNotLoadEitherIsAnError) {
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE, 1, 2);
  const EnginePtr engine = engine_with_record(good);
  const mhcjit_operator* op = nullptr;
  expect_failure(mhcjit_prepare(engine.get(), &forward_problem, MHCJIT_DEVICE_GPU, nullptr, &op),
                 MHCJIT_ERROR_LOAD_FAILED, {"refused the kernel"});
}

TEST_F(TunedTest, APlanWithClustersOnASliceGivesWayToOneWithout) {
  driver().clusters_at_once = 0;
  const EnginePtr engine = engine_with_record(record_of({{max_tokens, one_kernel}}));
  const mhcjit_operator* op = prepare(engine, forward_problem);
  EXPECT_EQ(plan_of(op, 1).source, MHCJIT_PLAN_ESTIMATED);
  for (const fake::Launch& launch : driver().launches()) EXPECT_EQ(launch.cluster_size, 0u);
  expect_warning({"plans without clusters serve it"});
  EXPECT_EQ(counters(engine).fallbacks, 1u);
}

TEST_F(TunedTest, AnotherDeviceIsOneWarning) {
  const EnginePtr engine = engine_with_record(good);
  driver().set_current_device(1);
  const mhcjit_plan_info info = plan_of(engine);
  EXPECT_EQ(info.plan, one_kernel);
  EXPECT_EQ(info.source, MHCJIT_PLAN_RECORDED);
  EXPECT_EQ(info.grade, MHCJIT_PLAN_OTHER_DEVICE);
  prepare(engine, backward_problem);
  expect_warning({path, "Fake GPU 0, sm_90a with 132 multiprocessors", "device 1 is Fake GPU 1",
                  "its plans serve, but others may be faster"});
}

TEST_F(TunedTest, ARecordOfAnotherArchitectureIsOneWarning) {
  codegen::TunedChoice choice = choice_of({{max_tokens, one_kernel}});
  choice.problem.architecture = {10, 0, 'a'};
  const EnginePtr engine = engine_with_record(to_line(codegen::made_up_header({10, 0, 'a'})) + to_line(choice));
  EXPECT_EQ(plan_of(engine).source, MHCJIT_PLAN_ESTIMATED);
  expect_warning({"Made-up GPU, sm_100a with 100 multiprocessors", "none of its plans serves"});
}

TEST_F(TunedTest, APlanThatDoesNotCompileGivesWayWithOneWarning) {
  prepare(make_engine(), forward_problem);
  compiler().result = NVRTC_ERROR_COMPILATION;
  const EnginePtr engine = engine_with_record(record_of({{max_tokens, other}}));
  const mhcjit_plan_info info = plan_of(engine);
  EXPECT_EQ(info.plan, estimated);
  EXPECT_EQ(info.source, MHCJIT_PLAN_ESTIMATED);
  expect_warning({"plans that were measured do not serve it"});
}

}  // namespace
}  // namespace mhcjit::test
