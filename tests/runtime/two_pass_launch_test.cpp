// What reaches the driver of the two-pass kernels: phi packed first, then clusters that are wider for few tokens.
#include "codegen/divide_up.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class TwoPassLaunchTest : public FakeGpuTest {
 protected:
  static constexpr mhcjit_problem wide_problem = {.op = MHCJIT_PRE_FORWARD, .n = 9, .d = 4096, .dtype = MHCJIT_BF16};
  static constexpr const char* wide_plan = "two_pass uses_wgmma=1 row_blocks=1 compiled_cluster_size=2";
};

// One kernel, compiled once and loaded once.
TEST_F(TwoPassLaunchTest, ClustersAreWiderForFewTokens) {
  const EnginePtr engine = make_engine(wide_plan);
  const mhcjit_operator* op = prepare(engine, wide_problem);
  const std::vector<codegen::Bucket> buckets = buckets_of(wide_problem, wide_plan);
  ASSERT_EQ(buckets.size(), 2u);
  const codegen::Bucket &wide = buckets[0], &narrow = buckets[1];
  ASSERT_EQ(wide.plan->parameter("cluster_size"), 8);
  ASSERT_EQ(narrow.plan->parameter("cluster_size"), 2);
  EXPECT_EQ(kernels_of(wide_problem, wide_plan),
            (std::vector<std::string>{"mhcjit_pre_forward_pack_phi", "mhcjit_pre_forward_project_wgmma"}));
  EXPECT_EQ(compiler().compiles, 2);
  EXPECT_EQ(driver().calls("cuLibraryLoadData"), 2);
  EXPECT_FALSE(driver().allows_large_clusters("mhcjit_pre_forward_project_wgmma"));
  const std::int64_t tokens_of_tile = 8 * wide.plan->parameter("tokens_per_warp").value();
  for (const std::int64_t T : {std::int64_t{1}, wide.max_tokens, wide.max_tokens + 1}) {
    SCOPED_TRACE(T);
    const std::size_t before = driver().launches().size();
    // Nothing runs, so the tensors may be of one token.
    ForwardCall call(wide_problem, 1, workspace_bytes(op, T));
    call.args.T = T;
    ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
    const std::vector<fake::Launch> launches = driver().launches();
    ASSERT_EQ(launches.size() - before, 2u);
    EXPECT_EQ(launches[before].kernel, "mhcjit_pre_forward_pack_phi");
    EXPECT_EQ(launches[before].cluster_size, 0u);
    EXPECT_FALSE(launches[before].overlaps_previous);
    const fake::Launch& project = launches[before + 1];
    EXPECT_EQ(project.kernel, "mhcjit_pre_forward_project_wgmma");
    const unsigned cluster_size = T <= wide.max_tokens ? 8 : 2;
    EXPECT_EQ(project.cluster_size, cluster_size);
    EXPECT_EQ(project.grid[0], codegen::divide_up(T, tokens_of_tile) * cluster_size);
    EXPECT_EQ(project.grid[1], 1u);
    EXPECT_TRUE(project.overlaps_previous);
  }
}

TEST_F(TwoPassLaunchTest, FewTokensAreOneLaunch) {
  const EnginePtr engine = make_engine();
  const mhcjit_operator* op = prepare(engine, wide_problem);
  const std::int64_t few = buckets_of(wide_problem).front().max_tokens;
  EXPECT_EQ(workspace_bytes(op, few), 0u);
  const ForwardCall call(wide_problem, few, 0);
  ASSERT_EQ(mhcjit_pre_forward(op, &call.args, nullptr), MHCJIT_SUCCESS) << mhcjit_last_error();
  ASSERT_EQ(driver().launches().size(), 1u);
  EXPECT_EQ(driver().launches()[0].kernel, "mhcjit_pre_forward_few_tokens");
}

}  // namespace
}  // namespace mhcjit::test
