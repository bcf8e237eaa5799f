// After `mhcjit warmup --shapes`, a program that asks for any of these shapes compiles nothing: counted on random
// workloads, on a fake device of compute capability 9.0, with the program's own counters and the compiler's.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "tests/codegen/tuned_records.h"
#include "tests/runtime/fake_gpu.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

struct Shape {
  int n = 0;
  std::int64_t d = 0;
  int dtype = 0;
  bool gamma = false;
  bool batch_invariant = false;
  bool fp32_dx = false;

  std::string json() const {
    constexpr const char* dtypes[] = {"bf16", "fp16", "fp32"};
    return fmt::format(R"({{"n":{},"d":{},"dtype":"{}","gamma":{},"batch_invariant":{},"fp32_dx":{}}})", n, d,
                       dtypes[dtype], gamma, batch_invariant, fp32_dx);
  }

  mhcjit_problem problem(mhcjit_op op) const {
    return {.op = op,
            .n = n,
            .d = d,
            .dtype = static_cast<mhcjit_dtype>(dtype),
            .has_gamma = gamma ? 1 : 0,
            .batch_invariant = batch_invariant ? 1 : 0,
            .fp32_dx = fp32_dx && op == MHCJIT_PRE_BACKWARD ? 1 : 0};
  }
};

Shape random_shape(std::mt19937& random) {
  const std::int64_t d = random() % 2 != 0 ? 8 * (1 + random() % 1024) : 1 + random() % 9000;
  return {static_cast<int>(1 + random() % 16),
          d,
          static_cast<int>(random() % 3),
          random() % 2 != 0,
          random() % 2 != 0,
          random() % 2 != 0};
}

// What a failing call's text tells to run: its end.
std::string command_in(const std::string& text) {
  const std::size_t at = text.find("mhcjit warmup ");
  return at == text.npos ? "" : text.substr(at);
}

class WarmupCovers : public FakeGpuTest {
 protected:
  // The command line, in a process of its own, as before a job.
  void warm(const std::vector<Shape>& shapes, const std::string& architectures) {
    std::string text;
    for (const Shape& shape : shapes) text += shape.json() + "\n";
    write_file(cli.file("shapes.json"), text);
    cli.environment["MHCJIT_NVRTC"] = nvrtc_path;
    const CliResult result =
        cli("warmup --shapes shapes.json --json --arch " + architectures + " --cache-dir " + cache_dir);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_GT(json_of(result).getInteger("compiled").value_or(0), 0);
  }

  EnginePtr make_engine_with(const std::string& record, bool no_compile) {
    mhcjit_engine_options chosen = options();
    chosen.record_path = record.c_str();
    chosen.no_compile = no_compile ? 1 : 0;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  // Compiles that preparing these problems took.
  static std::uint64_t misses(const EnginePtr& engine) { return counters(engine).misses; }

  Cli cli;
};

TEST_F(WarmupCovers, RandomWorkloadsCompileNothing) {
  std::mt19937 random(20260714);
  for (int round = 0; round < 3; ++round) {
    std::vector<Shape> shapes;
    while (shapes.size() < 20) shapes.push_back(random_shape(random));
    warm(shapes, "sm_80,sm_90a");
    const EnginePtr engine = make_engine();
    for (int call = 0; call < 200; ++call) {
      const mhcjit_op op = random() % 2 != 0 ? MHCJIT_PRE_FORWARD : MHCJIT_PRE_BACKWARD;
      const mhcjit_operator* prepared = prepare(engine, shapes[random() % shapes.size()].problem(op));
      ASSERT_NE(prepared, nullptr);
      workspace_bytes(prepared, static_cast<std::int64_t>(random() % 100000));
    }
    EXPECT_EQ(misses(engine), 0u);
    EXPECT_EQ(compiler().compiles, 0);
  }
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

// That the count can be other than 0: what was not warmed is a miss, of each kernel that no problem before has.
TEST_F(WarmupCovers, WhatTheFileDoesNotNameIsAMiss) {
  const Shape shape = {4, 4096, 0, true, false};
  warm({shape}, "sm_90a");
  const EnginePtr engine = make_engine();
  prepare(engine, shape.problem(MHCJIT_PRE_FORWARD));
  EXPECT_EQ(misses(engine), 0u);
  std::set<std::string> units;
  for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) units.merge(units_of(shape.problem(op)));
  const std::size_t warmed = units.size();
  for (const Shape& other :
       {Shape{3, 4096, 0, true, false}, Shape{4, 4097, 0, true, false}, Shape{4, 4096, 1, true, false},
        Shape{4, 4096, 0, false, false}, Shape{4, 4096, 0, true, true}, Shape{8, 2048, 0, true, true}}) {
    units.merge(units_of(other.problem(MHCJIT_PRE_FORWARD)));
    prepare(engine, other.problem(MHCJIT_PRE_FORWARD));
    EXPECT_EQ(misses(engine), units.size() - warmed) << other.json();
  }
}

// One run of a job writes down what it missed; after a warm-up from that the same job compiles nothing.
TEST_F(WarmupCovers, TheRecordOfARunCoversTheNext) {
  std::mt19937 random(20261123);
  const std::string record = cli.file("history.jsonl");
  std::vector<std::pair<Shape, mhcjit_op>> job;
  while (job.size() < 30)
    job.emplace_back(random_shape(random), random() % 2 != 0 ? MHCJIT_PRE_FORWARD : MHCJIT_PRE_BACKWARD);
  job.insert(job.end(), job.begin(), job.begin() + 10);

  // Problems, of which each has a kernel that the others have not, and kernels.
  std::set<std::string> problems, units;
  for (const auto& [shape, op] : job) {
    problems.insert(fmt::format("{} {}", static_cast<int>(op), shape.json()));
    units.merge(units_of(shape.problem(op)));
  }
  const auto run_job = [&](const EnginePtr& engine) {
    for (const auto& [shape, op] : job) prepare(engine, shape.problem(op));
    return misses(engine);
  };
  const std::uint64_t missed = run_job(make_engine_with(record, /*no_compile=*/false));
  EXPECT_EQ(missed, units.size());
  const std::string recorded = read_file(record);
  EXPECT_EQ(std::count(recorded.begin(), recorded.end(), '\n'), std::ssize(problems));

  std::filesystem::remove_all(cache_dir);
  cli.environment["MHCJIT_NVRTC"] = nvrtc_path;
  cli.environment["MHCJIT_RECORD"] = cli.file("of_the_warm_up");
  const CliResult warm = cli("warmup --shapes " + record + " --json --arch sm_90a --cache-dir " + cache_dir);
  ASSERT_EQ(warm.exit_code, 0) << warm.err;
  EXPECT_EQ(json_of(warm).getInteger("compiled"), std::ssize(problems));
  EXPECT_FALSE(std::filesystem::exists(cli.file("of_the_warm_up"))) << "a warm-up recorded its own misses";

  EXPECT_EQ(run_job(make_engine_with(record, /*no_compile=*/true)), 0u);
  EXPECT_EQ(read_file(record), recorded) << "a run that misses nothing recorded something";
}

// What a tuned record names is compiled, and a fresh process that has the record compiles nothing and uses its plans.
TEST_F(WarmupCovers, ATunedRecordCoversARunThatUsesIt) {
  const Shape shape = {4, 256, 0, true, false};
  const codegen::Architecture architecture = {9, 0, 'a'};
  std::vector<codegen::TunedChoice> choices;
  for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) {
    const codegen::Problem problem = llvm::cantFail(codegen::from_public(shape.problem(op), architecture));
    const std::string few = to_string(*buckets_of(shape.problem(op)).back().plan);
    const std::string many = to_string(*buckets_of(shape.problem(op), "clusters=0").back().plan);
    choices.push_back({problem, {{100, few}, {codegen::max_tokens, many}}, {}});
  }
  write_file(cli.file("tuned.jsonl"), text_of(*codegen::record_of(choices)));
  cli.environment["MHCJIT_NVRTC"] = nvrtc_path;
  const CliResult warm = cli("warmup --tuned tuned.jsonl --json --cache-dir " + cache_dir);
  ASSERT_EQ(warm.exit_code, 0) << warm.err;
  EXPECT_EQ(json_of(warm).getInteger("compiled"), 2);

  const std::string path = cli.file("tuned.jsonl");
  mhcjit_engine_options chosen = options();
  chosen.tuned_path = path.c_str();
  chosen.no_compile = 1;
  mhcjit_engine* made = nullptr;
  ASSERT_EQ(mhcjit_engine_create(&chosen, &made), MHCJIT_SUCCESS) << mhcjit_last_error();
  const EnginePtr engine(made);
  for (const codegen::TunedChoice& choice : choices) {
    const mhcjit_operator* op = prepare(engine, shape.problem(choice.problem.op->id));
    ASSERT_NE(op, nullptr);
    for (const codegen::TunedBucket& bucket : choice.buckets) {
      mhcjit_plan_info info = {};
      ASSERT_EQ(mhcjit_operator_plan(op, bucket.max_tokens, &info), MHCJIT_SUCCESS) << mhcjit_last_error();
      EXPECT_EQ(info.plan, bucket.plan);
      EXPECT_EQ(info.source, MHCJIT_PLAN_RECORDED);
    }
  }
  EXPECT_EQ(misses(engine), 0u);
  EXPECT_EQ(compiler().compiles, 0);
}

// Who reads the error of a strict run can paste its command, in the same environment.
TEST_F(WarmupCovers, TheCommandOfARefusedMissCoversIt) {
  cache_dir = cli.file("a cache's folder");
  cli.environment["MHCJIT_NVRTC"] = nvrtc_path;
  cli.environment["MHCJIT_NO_COMPILE"] = "1";
  const EnginePtr engine = make_engine_with("", /*no_compile=*/true);
  for (const Shape& shape : {Shape{4, 4096, 0, true, true}, Shape{4, 4104, 0, true, false},
                             Shape{1, 33, 1, false, true}, Shape{16, 8, 2, false, false}})
    for (const mhcjit_op op : {MHCJIT_PRE_BACKWARD, MHCJIT_PRE_FORWARD}) {
      const mhcjit_problem problem = shape.problem(op);
      const mhcjit_operator* prepared = nullptr;
      if (op == MHCJIT_PRE_BACKWARD) {
        expect_failure(mhcjit_prepare(engine.get(), &problem, MHCJIT_DEVICE_GPU, nullptr, &prepared),
                       MHCJIT_ERROR_NOT_IN_CACHE, {"sm_90a", "mhcjit warmup"});
        const CliResult result = cli.shell(command_in(mhcjit_last_error()));
        ASSERT_EQ(result.exit_code, 0) << result.err;
      }
      EXPECT_NE(prepare(engine, problem), nullptr);
    }
  EXPECT_EQ(misses(engine), 0u);
}

}  // namespace
}  // namespace mhcjit::test
