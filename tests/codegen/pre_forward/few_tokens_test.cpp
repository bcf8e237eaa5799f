// The family for few tokens: legal plans cover the columns and hold x of a whole group, the device's clusters share out
// the tokens, and what cannot be is refused with the reason.
#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

constexpr int group = 16;

TEST(FewTokens, LegalPlansCoverTheProblem) {
  int legal = 0;
  for (int n = 1; n <= max_n; ++n)
    for (const std::int64_t d : {4, 60, 128, 1004, 2048, 4096, 7168})
      for (const DType dtype : dtypes)
        for (const Candidate& candidate : candidates_of(forward_of(n, d, dtype), "few_tokens")) {
          if (!candidate.legal()) continue;
          ++legal;
          SCOPED_TRACE(to_string(candidate.plan->problem()) + ": " + to_string(*candidate.plan));
          const Kernel& kernel = candidate.plan->kernels().front();
          const auto of = [&](std::string_view name) { return constant(kernel, name); };
          const std::int64_t slice = of("gemm_warps") * of("units_per_warp") / n * of("unit_chunks") * 16;
          EXPECT_GE(of("cluster_size") * slice, d);
          EXPECT_LT((of("cluster_size") - 1) * slice, d);
          EXPECT_GE(of("stages"), 1);
          EXPECT_LE(of("stages"), of("units_per_warp"));
          EXPECT_EQ(kernel.threads_per_block, (of("gemm_warps") + 1) * warp_size);
          EXPECT_GE(kernel.dynamic_smem_bytes, group * n * slice * bytes_of(dtype)) << "x of a group";
          EXPECT_EQ(candidate.plan->kernels().size(), 1u);
          EXPECT_EQ(candidate.plan->workspace_bytes(64), 0u);
        }
  EXPECT_GT(legal, 200);
}

TEST(FewTokens, ServesUpToTenStreamsOfEveryDtype) {
  for (const DType dtype : dtypes) {
    for (const int n : {1, 4, 8}) EXPECT_EQ(refusal(forward_of(n, 2048, dtype), "few_tokens"), "accepted") << n;
    EXPECT_EQ(refusal(forward_of(10, 1000, dtype), "few_tokens"), "accepted");
  }
}

TEST(FewTokens, RefusesWithTheReason) {
  EXPECT_EQ(
      refusal(forward_of(4, 127), "few_tokens"),
      "pre_forward n=4 D=127 bf16 gamma sm_90a: no plan few_tokens fits: D is 127, a lane copies four columns at a "
      "time");
  EXPECT_EQ(rejections(forward_of(4, 4096, DType::bf16, true, {8, 0, 0}), "few_tokens"),
            std::set<std::string>{"it needs clusters: sm_90, sm_100 and sm_103, not sm_80"});
  EXPECT_EQ(rejections(forward_of(11, 1000), "few_tokens"),
            std::set<std::string>{"the sums of 143 rows, four to a lane, are more than a warp has lanes for"});
  EXPECT_TRUE(rejections(forward_of(4, 16384), "few_tokens")
                  .contains("16384 columns need 64 gemm warps in each of 16 blocks, allowed: 23"));
  EXPECT_TRUE(
      rejections(forward_of(4, 64), "few_tokens").contains("16 blocks of 16 columns leave the last without any"));
  const Device without = device_of(hopper).without_clusters();
  for (const auto& [family, candidate] : candidates(forward_of(4, 4096), without))
    if (family == "few_tokens") {
      EXPECT_EQ(candidate.rejected, "it needs clusters, which the device cannot run");
    }
}

// Groups are as small as the clusters that run at once allow, up to 16 tokens.
TEST(FewTokens, SharesOutTokensAmongTheDevicesClusters) {
  const Problem problem = forward_of(4, 4096);
  const PlanPtr plan = plan_of(problem, "few_tokens cluster_size=16");
  const Device& device = device_of(problem.architecture);
  const auto at_once = static_cast<std::uint32_t>(device.clusters_at_once[16]);
  ASSERT_EQ(at_once, 7u);
  EXPECT_EQ(plan->grid(0, 1, device), (Grid{16, 1, 16}));
  EXPECT_EQ(plan->grid(0, 7, device), (Grid{7 * 16, 1, 16}));
  EXPECT_EQ(plan->grid(0, 8, device), (Grid{4 * 16, 1, 16})) << "two tokens each";
  EXPECT_EQ(plan->grid(0, 7 * group, device), (Grid{7 * 16, 1, 16}));
  EXPECT_EQ(plan->grid(0, 7 * group + 1, device), (Grid{8 * 16, 1, 16})) << "a group holds no more than 16";
}

}  // namespace
}  // namespace mhcjit::codegen
