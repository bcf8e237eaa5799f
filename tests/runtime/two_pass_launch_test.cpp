// What reaches the driver of the two-pass kernels: phi packed first, then clusters that are wider for few tokens.
#include "codegen/divide_up.h"
#include "codegen/heuristic.h"
#include "codegen/portable_forward.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class TwoPassLaunchTest : public FakeGpuTest {
 protected:
  static constexpr mhcjit_problem wide_problem = {MHCJIT_PRE_FORWARD, 4, 1004, MHCJIT_BF16, 0, 0};

  static codegen::KernelSpec spec() {
    auto problem = codegen::from_public(wide_problem, {9, 0, 'a'});
    return llvm::cantFail(codegen::choose_spec(llvm::cantFail(std::move(problem))));
  }
};

TEST_F(TwoPassLaunchTest, ClustersAreWiderForFewTokens) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, wide_problem);
  const codegen::KernelSpec chosen = spec();
  ASSERT_EQ(chosen.kernel_template, codegen::KernelTemplate::two_pass);
  for (const std::int64_t T : {chosen.few_max_tokens + 1, chosen.wide_max_tokens, chosen.wide_max_tokens + 1}) {
    SCOPED_TRACE(T);
    const std::size_t before = driver().launches().size();
    const ForwardCall call(wide_problem, T, workspace_bytes(op, T));
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    const std::vector<fake::Launch> launches = driver().launches();
    ASSERT_EQ(launches.size() - before, 2u);
    EXPECT_EQ(launches[before].kernel, "mhcjit_pre_forward_pack_phi");
    EXPECT_EQ(launches[before].cluster_size, 0u);
    EXPECT_FALSE(launches[before].overlaps_previous);
    const fake::Launch& project = launches[before + 1];
    EXPECT_EQ(project.kernel, "mhcjit_pre_forward_project");
    const unsigned cluster_size = T <= chosen.wide_max_tokens ? 8 : 2;
    EXPECT_EQ(project.cluster_size, cluster_size);
    EXPECT_EQ(project.grid[0], codegen::divide_up(T, codegen::project_tokens(chosen)) * cluster_size);
    EXPECT_EQ(project.grid[1], 1u);
    EXPECT_TRUE(project.overlaps_previous);
  }
}

TEST_F(TwoPassLaunchTest, FewTokensAreOneLaunch) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, wide_problem);
  EXPECT_EQ(workspace_bytes(op, spec().few_max_tokens), 0u);
  const ForwardCall call(wide_problem, spec().few_max_tokens, 0);
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  ASSERT_EQ(driver().launches().size(), 1u);
  EXPECT_EQ(driver().launches()[0].kernel, "mhcjit_pre_forward_few_tokens");
}

}  // namespace
}  // namespace mhcjit::test
