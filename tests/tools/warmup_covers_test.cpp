// After `mhcjit warmup --shapes`, a program that asks for any of these shapes compiles nothing: counted on random
// workloads, on a fake device of compute capability 9.0, with the program's own counters and the compiler's.
#include <fmt/format.h>

#include <random>

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

  std::string json() const {
    constexpr const char* dtypes[] = {"bf16", "fp16", "fp32"};
    return fmt::format(R"({{"n":{},"d":{},"dtype":"{}","gamma":{},"batch_invariant":{}}})", n, d, dtypes[dtype], gamma,
                       batch_invariant);
  }

  mhcjit_problem problem(mhcjit_op op) const {
    return {op, n, d, static_cast<mhcjit_dtype>(dtype), gamma ? 1 : 0, batch_invariant ? 1 : 0};
  }
};

Shape random_shape(std::mt19937& random) {
  const std::int64_t d = random() % 2 != 0 ? 8 * (1 + random() % 1024) : 1 + random() % 9000;
  return {static_cast<int>(1 + random() % 16), d, static_cast<int>(random() % 3), random() % 2 != 0, random() % 2 != 0};
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

  // Compiles that preparing these problems took.
  std::uint64_t misses(const EnginePtr& engine) {
    mhcjit_counters counters = {};
    EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS);
    return counters.misses;
  }

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

// That the count can be other than 0: what was not warmed is a miss.
TEST_F(WarmupCovers, WhatTheFileDoesNotNameIsAMiss) {
  const Shape shape = {4, 4096, 0, true, false};
  warm({shape}, "sm_90a");
  const EnginePtr engine = make_engine();
  prepare(engine, shape.problem(MHCJIT_PRE_FORWARD));
  EXPECT_EQ(misses(engine), 0u);
  for (const Shape& other :
       {Shape{3, 4096, 0, true, false}, Shape{4, 4097, 0, true, false}, Shape{4, 4096, 1, true, false},
        Shape{4, 4096, 0, false, false}, Shape{4, 4096, 0, true, true}}) {
    const std::uint64_t before = misses(engine);
    prepare(engine, other.problem(MHCJIT_PRE_FORWARD));
    EXPECT_EQ(misses(engine), before + 1) << other.json();
  }
}

}  // namespace
}  // namespace mhcjit::test
