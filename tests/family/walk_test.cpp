// How to add a family, executed: rows.cpp and rows.cuh are all that this family has, and everything that is generic
// works on it: candidates, choice, text, simulator, launch and benchmark; compile_test.cpp has the compiler and the
// cache.
#include <cstdlib>

#include "bench/accuracy.h"
#include "bench/plan_calls.h"
#include "bench/timing.h"
#include "codegen/choose.h"
#include "codegen/emit.h"
#include "oracle/outputs.h"
#include "oracle/random_inputs.h"
#include "support/error.h"
#include "tests/family/rows.h"
#include "tests/runtime/fake_gpu.h"
#include "tests/sim/operator_run.h"

namespace mhcjit::test {
namespace {

using codegen::PlanPtr;

template <typename T>
T value_of(llvm::Expected<T> expected) {
  if (expected) return std::move(*expected);
  throw std::runtime_error(take_failure(expected.takeError()).text);
}

// For every T.
PlanPtr plan_of(const codegen::Problem& problem) {
  const std::vector<codegen::Bucket> buckets = value_of(codegen::choose(problem, {.wanted = "rows threads=64"}));
  EXPECT_EQ(buckets.size(), 1u);
  return buckets.front().plan;
}

TEST(Family, IsListedWithItsReasons) {
  codegen::Problem problem = small_problem();
  const auto listed = [&] {
    std::vector<std::string> rejected;
    for (const auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
      if (family == "rows") rejected.push_back(candidate.rejected);
    return rejected;
  };
  EXPECT_EQ(listed(), (std::vector<std::string>{"", ""}));
  problem.d = 4096;
  EXPECT_EQ(listed(), std::vector<std::string>(2, "16384 columns are many for one block, allowed: 4096"));
}

TEST(Family, IsChosenByItsNameAndWhereItIsCheapest) {
  EXPECT_EQ(to_string(*plan_of(small_problem())), "rows threads=64");
  // Its costs say so beside the library's families, without a line of theirs.
  codegen::Problem odd = small_problem();
  odd.d = 41;
  const std::vector<codegen::Bucket> buckets = value_of(codegen::choose(odd));
  EXPECT_EQ(codegen::bucket_of(buckets, 64).plan->family(), "rows");
}

TEST(Family, IsEmitted) {
  const PlanPtr plan = plan_of(small_problem());
  const std::string text = codegen::emit(plan->problem(), plan->kernels().front());
  for (const char* part :
       {"#include <pre_forward/args.cuh>\n#include <family/rows.cuh>\n", "struct PreForwardRowsSpec {",
        "static constexpr int d = 40;", "mhcjit_pre_forward_rows(const __grid_constant__ PreForwardArgs args) {",
        "pre_forward_rows<PreForwardRowsSpec>(args);"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(Family, IsSimulatedAndRight) {
  const PlanPtr plan = plan_of(small_problem());
  const sim::Operator op = {plan, sim::units().front(), codegen::device_of(plan->problem().architecture)};
  for (const std::int64_t tokens : {1, 13}) {
    const oracle::RandomOptions random = {sim::shape_of(plan->problem(), tokens), MHCJIT_BF16, 5};
    const oracle::Inputs inputs = oracle::random_inputs(random);
    const sim::Outcome outcome = sim::run_forward(op, tokens, inputs);
    ASSERT_EQ(outcome.fault, "");
    const oracle::Forward expected = oracle::pre_forward(random.shape, inputs);
    for (const oracle::Reference& output : oracle::outputs_of(random.shape, expected)) {
      const oracle::Comparison comparison =
          oracle::compare(output, sim::values_of(outcome, output.name, plan->problem()), MHCJIT_BF16);
      EXPECT_TRUE(comparison.ok()) << output.name << ": " << oracle::to_string(comparison);
    }
  }
}

// On the fake driver, which runs no kernel, with cubins of the fake compiler.
class FamilyOnDevice : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    ::setenv("MHCJIT_NVRTC", FAKE_NVRTC, 1);
  }
  void TearDown() override { ::unsetenv("MHCJIT_NVRTC"); }

  static constexpr mhcjit_problem problem = {
      .op = MHCJIT_PRE_FORWARD, .n = 4, .d = 40, .dtype = MHCJIT_BF16, .has_gamma = 1};
};

TEST_F(FamilyOnDevice, IsLoadedAndLaunched) {
  const PlanPtr plan = plan_of(small_problem());
  bench::LoadedPlan loaded = value_of(bench::load_plan(value_of(bench::compile_plan(plan))));
  const runtime::GpuOperator op(loaded.driver, loaded.device, plan->problem(), {std::move(loaded.bucket)});
  for (const std::int64_t tokens : {1, 1000}) {
    const ForwardCall call(problem, tokens, 0);
    ASSERT_FALSE(static_cast<bool>(op.run(MHCJIT_PRE_FORWARD, &call.args, nullptr)));
    const fake::Launch launch = driver().launches().back();
    EXPECT_EQ(launch.kernel, "mhcjit_pre_forward_rows");
    EXPECT_EQ(launch.grid[0], static_cast<unsigned>(tokens));
    EXPECT_EQ(launch.block[0], 64u);
    EXPECT_EQ(launch.dynamic_smem_bytes, 2u * 25 * 4);
    EXPECT_EQ(launch.parameters.size(), 1u);
  }
}

// Compiled, launched from a graph, timed and compared, of which the last fails: nothing has run.
TEST_F(FamilyOnDevice, IsTriedInADryRun) {
  const gpu::Gpu* gpu = gpu::find_gpu();
  ASSERT_NE(gpu, nullptr) << gpu::missing_gpu();
  const EnginePtr engine = make_engine();
  const auto sets = bench::make_input_sets(*gpu, engine.get(), small_problem(), 16);
  const bench::Sample sample(*sets, bench::InputSets::x_std);
  std::vector<std::string> tried;
  for (const auto& [family, candidate] :
       codegen::candidates(small_problem(), codegen::device_of(small_problem().architecture))) {
    if (family != "rows" || !candidate.legal()) continue;
    tried.push_back(to_string(*candidate.plan));
    const bench::PlanCalls calls(*gpu, *sets,
                                 value_of(bench::load_plan(value_of(bench::compile_plan(candidate.plan)))));
    sets->call(0).poison();
    calls.run(0);
    bench::Errors errors;
    sample.compare_tokens(errors);
    EXPECT_EQ(errors.size(), 6u);
    EXPECT_FALSE(bench::within_bounds(errors)) << "a result that nothing made was accepted";
    const bench::Enqueue rotating = [&](CUstream stream, int i) { calls.run(i % sets->count(), stream); };
    EXPECT_GT(bench::time_graph(*gpu, rotating, sets->count(), 0.001).median_us, 0.0);
    EXPECT_GT(candidate.plan->cost_us(16, codegen::device_of(small_problem().architecture)), 0.0);
  }
  EXPECT_EQ(tried, (std::vector<std::string>{"rows threads=64", "rows threads=256"}));
}

}  // namespace
}  // namespace mhcjit::test
