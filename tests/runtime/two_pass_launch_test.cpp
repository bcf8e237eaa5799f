// What reaches the driver of the two-pass template: its two kernels in order, each with its grid, for problems of
// 16-bit x; others get the library's choice.
#include "codegen/heuristic.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

using codegen::KernelTemplate;

class TwoPassLaunchTest : public FakeGpuTest {
 protected:
  EnginePtr make_engine() {
    mhcjit_engine_options chosen = options();
    chosen.kernel_template = "two_pass";
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  void* const stream = reinterpret_cast<void*>(std::uintptr_t{0x5770});
};

TEST_F(TwoPassLaunchTest, LaunchesTheProductsAndThenApply) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, forward_problem);
  auto problem = codegen::from_public(forward_problem, {9, 0, 'a'});
  const codegen::KernelSpec spec =
      llvm::cantFail(codegen::choose_spec(llvm::cantFail(std::move(problem)), KernelTemplate::two_pass));
  const std::vector<codegen::StagePlan> stages = codegen::stages(spec);
  for (const std::int64_t T : {1, 300}) {
    const ForwardCall call(forward_problem, T, workspace_bytes(op, T));
    const std::size_t before = driver().launches().size();
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
    ASSERT_EQ(driver().launches().size(), before + 2);
    for (std::size_t i = 0; i < 2; ++i) {
      const fake::Launch launch = driver().launches()[before + i];
      const codegen::Grid grid = codegen::grid_of(spec, stages[i].stage, T);
      EXPECT_EQ(launch.kernel, stages[i].entry());
      EXPECT_EQ(launch.grid[0], grid.x);
      EXPECT_EQ(launch.grid[1], grid.y);
      EXPECT_EQ(launch.block[0], static_cast<unsigned>(spec.threads_per_block));
      EXPECT_EQ(launch.stream, stream);
    }
  }
}

TEST_F(TwoPassLaunchTest, WhereItDoesNotFitTheLibraryChooses) {
  const mhcjit_problem fp32 = {MHCJIT_PRE_FORWARD, 4, 256, MHCJIT_FP32, 0, 0};
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, fp32);
  const ForwardCall call(fp32, 3, workspace_bytes(op, 3));
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, stream), MHCJIT_SUCCESS) << mhcjit_last_error();
  EXPECT_EQ(driver().launches().front().kernel, "mhcjit_pre_forward_project");
  prepare(engine, backward_problem);
}

}  // namespace
}  // namespace mhcjit::test
