// The one-pass family: the shapes that models use have a plan, legal ones cover the problem and move no more registers
// than there are, and what cannot be is refused with the reason.
#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

std::string one_pass_refusal(const Problem& problem) { return refusal(problem, "one_pass"); }

TEST(OnePass, ShapesOfModelsHaveAPlan) {
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168})
    for (const DType dtype : {DType::bf16, DType::fp16})
      for (const bool has_gamma : {false, true})
        EXPECT_EQ(one_pass_refusal(forward_of(4, d, dtype, has_gamma)), "accepted") << d;
  for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120})
    EXPECT_EQ(one_pass_refusal(forward_of(4, d, DType::fp32)), "accepted") << d;
  EXPECT_EQ(one_pass_refusal(forward_of(2, 4096)), "accepted");
  EXPECT_EQ(one_pass_refusal(forward_of(6, 2560)), "accepted");
}

TEST(OnePass, LegalPlansCoverTheProblem) {
  constexpr int helper_warps = 4;
  int legal = 0;
  for (const int n : {1, 2, 3, 4, 6, 8})
    for (const std::int64_t d : {8, 64, 200, 1920, 4096, 8000})
      for (const DType dtype : {DType::bf16, DType::fp32})
        for (const Candidate& candidate : candidates_of(forward_of(n, d, dtype), "one_pass")) {
          if (!candidate.legal()) continue;
          ++legal;
          SCOPED_TRACE(to_string(*candidate.plan));
          const Kernel& kernel = candidate.plan->kernels().front();
          const auto of = [&](std::string_view name) { return constant(kernel, name); };
          EXPECT_EQ(kernel.threads_per_block, (of("gemm_warps") + of("apply_warps") + helper_warps) * warp_size);
          const std::int64_t registers = of("gemm_warps") * of("gemm_registers") +
                                         of("apply_warps") * of("apply_registers") +
                                         helper_warps * of("helper_registers");
          const std::int64_t at_launch = registers_per_multiprocessor / kernel.threads_per_block / 8 * 8;
          EXPECT_LE(registers * warp_size, at_launch * kernel.threads_per_block)
              << "raising registers would wait for ever";
          // A warp group moves registers together.
          if (of("gemm_registers") != of("apply_registers")) {
            EXPECT_EQ(of("gemm_warps") % 4, 0);
          }
          EXPECT_EQ((of("gemm_warps") + of("apply_warps")) % 4, 0);
          const std::int64_t slice = of("panels_per_stream") * of("panel_columns");
          EXPECT_EQ(of("gemm_warps") / of("row_groups") * of("k_steps_per_warp") * 16, slice * n);
          EXPECT_GE(of("cluster_size") * slice, d);
          EXPECT_LT((of("cluster_size") - 1) * slice, d);
          EXPECT_GE(of("pipeline_stages"), 3);
        }
  EXPECT_GT(legal, 500);
}

TEST(OnePass, RefusesWithTheReason) {
  EXPECT_EQ(one_pass_refusal(forward_of(4, 5129)),
            "pre_forward n=4 D=5129 bf16 gamma sm_90a: no plan one_pass fits: D is 5129, tensor maps need a multiple "
            "of 8");
  EXPECT_EQ(one_pass_refusal(forward_of(4, 5130, DType::fp32)),
            "pre_forward n=4 D=5130 fp32 gamma sm_90a: no plan one_pass fits: D is 5130, tensor maps need a multiple "
            "of 4");
  EXPECT_EQ(one_pass_refusal(forward_of(4, 4096, DType::bf16, true, {8, 0, 0})),
            "pre_forward n=4 D=4096 bf16 gamma sm_80: no plan one_pass fits: it needs clusters and registers that move "
            "between warps: sm_90a, sm_100a and sm_103a, not sm_80");
  EXPECT_NE(one_pass_refusal(forward_of(8, 2048)), "accepted")
      << "80 rows of phi are more than registers and shared memory hold";
  EXPECT_GT(rejections(forward_of(8, 2048), "one_pass").size(), 10u);
}

TEST(OnePass, NarrowPanelsAndRowGroupsServeSixStreams) {
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    const PlanPtr plan = plan_of(forward_of(6, 2560, dtype), "");
    ASSERT_EQ(plan->family(), "one_pass");
    const Kernel& kernel = plan->kernels().front();
    EXPECT_EQ(
        constant(kernel, "cluster_size") * constant(kernel, "panels_per_stream") * constant(kernel, "panel_columns"),
        2560)
        << "no column is wasted";
    EXPECT_EQ(constant(kernel, "panel_columns"), 32);
    EXPECT_EQ(constant(kernel, "row_groups"), 2);
  }
}

TEST(OnePass, PanelsAreNarrowOnlyWhereWideOnesDoNotServe) {
  int narrow = 0;
  for (const std::int64_t d : {1920, 4096})
    for (const Candidate& candidate : candidates_of(forward_of(4, d), "one_pass"))
      if (candidate.legal() && candidate.plan->parameter("panel_columns") == 32) {
        ++narrow;
        EXPECT_EQ(constant(candidate.plan->kernels().front(), "panels_per_stream") % 2, 1);
      }
  EXPECT_GT(narrow, 0);
}

TEST(OnePass, RowsOfPanelsAreOfAsManyBytesForEveryDtype) {
  EXPECT_EQ(plan_of(forward_of(4, 4096, DType::fp32), "")->family(), "one_pass");
  for (const Candidate& candidate : candidates_of(forward_of(4, 4096, DType::fp32), "one_pass"))
    for (const auto& [name, value] : candidate.parameters)
      if (name == "panel_columns") {
        EXPECT_EQ(value, 32) << "lanes that read at once find their parts in different banks";
      }
}

TEST(OnePass, LaunchesOneKernelWithAClusterForEachTile) {
  const Problem problem = forward_of(4, 4096);
  const PlanPtr plan = plan_of(problem, "one_pass");
  ASSERT_EQ(plan->kernels().size(), 1u);
  const Kernel& kernel = plan->kernels().front();
  const auto cluster_size = static_cast<std::uint32_t>(*plan->parameter("cluster_size"));
  const auto tile = static_cast<int>(*plan->parameter("tokens_per_tile"));
  EXPECT_EQ(kernel.name, "pre_forward_one_pass");
  EXPECT_EQ(kernel.max_cluster_size, static_cast<int>(cluster_size));
  EXPECT_TRUE(kernel.is_persistent);
  ASSERT_EQ(kernel.maps.size(), 1u);
  EXPECT_EQ(kernel.maps.front(), (TensorMap{"x", static_cast<int>(*plan->parameter("panel_columns")), tile, 4}));
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(plan->grid(0, 3 * tile + 1, device), (Grid{4 * cluster_size, 1, cluster_size}));
  EXPECT_EQ(plan->grid(0, 1, device), (Grid{cluster_size, 1, cluster_size}));
  EXPECT_EQ(plan->workspace_bytes(8192), 0u);
}

}  // namespace
}  // namespace mhcjit::codegen
