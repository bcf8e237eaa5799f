// The one-pass family of pre_backward: the shapes that models use have a plan, legal ones cover the problem and move no
// more registers than there are, the workspace holds the sums of each group of blocks, and what cannot be is refused
// with the reason.
#include "codegen/divide_up.h"
#include "templates/pre_backward/one_pass_work.cuh"

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

enum KernelIndex : std::size_t { main_kernel, finish };

constexpr int tokens_per_tile = 16;
constexpr std::int64_t token_counts[] = {1, 2, 15, 16, 17, 137, 256, 1000, 8192, 65536, max_tokens};

Problem backward_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true,
                    Architecture architecture = hopper) {
  return {&pre_backward, n, d, dtype, has_gamma, false, architecture};
}

std::string one_pass_refusal(const Problem& problem) { return refusal(problem, "one_pass"); }

// Calls visit(plan) for each legal plan of many problems.
template <typename Visit>
void for_many_plans(Visit&& visit) {
  for (const int n : {1, 2, 3, 4, 6, 8})
    for (const std::int64_t d : {8, 64, 200, 1280, 1920, 2560, 4096, 7168})
      for (const DType dtype : dtypes)
        for (const Candidate& candidate : candidates_of(backward_of(n, d, dtype), "one_pass"))
          if (candidate.legal()) {
            SCOPED_TRACE(to_string(candidate.plan->problem()) + ": " + to_string(*candidate.plan));
            visit(*candidate.plan);
          }
}

// Groups of the plan's blocks, on the device of its architecture.
std::int64_t groups_at_once(const Plan& plan) {
  const Device& device = device_of(plan.problem().architecture);
  const auto group_blocks = static_cast<int>(*plan.parameter("group_blocks"));
  return *plan.parameter("uses_clusters") != 0 ? device.clusters_at_once[group_blocks]
                                               : device.multiprocessors / group_blocks;
}

TEST(BackwardOnePass, ShapesOfModelsHaveAPlan) {
  for (const Architecture& architecture : {hopper, Architecture{10, 0, 'a'}})
    for (const DType dtype : {DType::bf16, DType::fp16})
      for (const bool has_gamma : {false, true}) {
        for (const std::int64_t d : {1280, 1920, 2560, 4096, 5120, 7168})
          EXPECT_EQ(one_pass_refusal(backward_of(4, d, dtype, has_gamma, architecture)), "accepted") << d;
        EXPECT_EQ(one_pass_refusal(backward_of(2, 4096, dtype, has_gamma, architecture)), "accepted");
      }
}

TEST(BackwardOnePass, LegalPlansCoverTheProblem) {
  constexpr int dot_warps = 4;
  int legal = 0;
  for_many_plans([&](const Plan& plan) {
    ++legal;
    const Problem& problem = plan.problem();
    const Kernel& kernel = plan.kernels()[main_kernel];
    const auto of = [&](std::string_view name) { return constant(kernel, name); };
    // The producer, the coefficient warps and that of scalars, in whole warp groups.
    const std::int64_t helper_warps = divide_up(2 + 2 * of("coefficient_pairs"), 4) * 4;
    EXPECT_EQ(kernel.threads_per_block, (of("consumer_warps") + dot_warps + helper_warps) * warp_size);
    const std::int64_t registers = of("consumer_warps") * of("consumer_registers") + dot_warps * of("dot_registers") +
                                   helper_warps * of("helper_registers");
    const std::int64_t at_launch = registers_per_multiprocessor / kernel.threads_per_block / 8 * 8;
    EXPECT_LE(registers * warp_size, at_launch * kernel.threads_per_block) << "raising registers would wait for ever";
    // A warp group moves registers together.
    EXPECT_EQ(of("consumer_warps") % 4, 0);

    const std::int64_t slice = of("panels_per_stream") * of("panel_columns");
    EXPECT_GE(of("group_blocks") * slice, problem.d);
    EXPECT_LT((of("group_blocks") - 1) * slice, problem.d);
    EXPECT_GE(of("pipeline_stages"), 2);
    EXPECT_EQ(of("exchange_slots") % 2, 0) << "half of them are sent ahead";
    for (const std::int64_t slots : {of("coefficient_slots"), of("scalar_slots"), of("exchange_slots") / 2})
      EXPECT_LE(of("coefficient_pairs"), slots) << "pairs would wait for a phase before the previous one";
    EXPECT_LE(of("pipeline_stages") * (problem.n + 1) * slice * tokens_per_tile * bytes_of(problem.dtype),
              kernel.dynamic_smem_bytes);

    const Kernel& last = plan.kernels()[finish];
    EXPECT_EQ(constant(last, "slice"), slice);
    EXPECT_EQ(constant(last, "coefficient_pairs"), of("coefficient_pairs"));
    EXPECT_EQ(constant(last, "warps_per_stream") * problem.n, of("consumer_warps"));
    EXPECT_EQ(constant(last, "steps") * constant(last, "warps_per_stream") * 16, slice);
    EXPECT_EQ(constant(last, "block_tiles"), constant(last, "steps") * of("consumer_warps"));
  });
  EXPECT_GT(legal, 100);
}

TEST(BackwardOnePass, RefusesWithTheReason) {
  EXPECT_EQ(one_pass_refusal(backward_of(4, 5129)),
            "pre_backward n=4 D=5129 bf16 gamma sm_90a: no plan one_pass fits: D is 5129, tensor maps need a multiple "
            "of 8");
  EXPECT_EQ(one_pass_refusal(backward_of(4, 5130, DType::fp32)),
            "pre_backward n=4 D=5130 fp32 gamma sm_90a: no plan one_pass fits: D is 5130, tensor maps need a multiple "
            "of 4");
  EXPECT_EQ(one_pass_refusal(backward_of(4, 4096, DType::bf16, true, {8, 0, 0})),
            "pre_backward n=4 D=4096 bf16 gamma sm_80: no plan one_pass fits: it needs clusters and registers that "
            "move between warps: sm_90a, sm_100a and sm_103a, not sm_80");
  Problem fp32_dx = backward_of(4, 4096);
  fp32_dx.has_fp32_dx = true;
  EXPECT_NE(one_pass_refusal(fp32_dx).find("no plan one_pass fits: dx takes the place of x, whose elements are of 16 "
                                           "bits"),
            std::string::npos);
  const std::set<std::string> reasons = rejections(backward_of(8, 2048), "one_pass");
  EXPECT_TRUE(reasons.contains("152 registers of a consumer warp, it needs 466")) << testing::PrintToString(reasons);
  EXPECT_TRUE(rejections(backward_of(5, 4096), "one_pass").contains("8 consumer warps do not divide among 5 streams"));
}

TEST(BackwardOnePass, PanelsAreNarrowOnlyWhereWideOnesDoNotServe) {
  int narrow = 0;
  for_many_plans([&](const Plan& plan) {
    if (bytes_of(plan.problem().dtype) * *plan.parameter("panel_columns") == 128) return;
    ++narrow;
    EXPECT_EQ(constant(plan.kernels()[main_kernel], "panels_per_stream") % 2, 1);
  });
  EXPECT_GT(narrow, 0);
}

void expect_sums_follow(const Plan& plan) {
  const Problem& problem = plan.problem();
  ASSERT_EQ(plan.kernels().size(), 2u);
  const auto columns = static_cast<int>(*plan.parameter("panel_columns"));
  const Kernel& kernel = plan.kernels()[main_kernel];
  EXPECT_EQ(kernel.name, "pre_backward_one_pass");
  EXPECT_FALSE(kernel.overlaps_previous);
  EXPECT_TRUE(kernel.makes.empty()) << "the other reads what it makes";
  EXPECT_EQ(kernel.maps, (std::vector<TensorMap>{{"x", columns, tokens_per_tile, problem.n},
                                                 {"dh_in", columns, tokens_per_tile, 1, false},
                                                 {"dx", columns, tokens_per_tile, problem.n}}));
  const Kernel& last = plan.kernels()[finish];
  EXPECT_EQ(last.name, "pre_backward_one_pass_finish");
  EXPECT_TRUE(last.overlaps_previous);
  EXPECT_EQ(last.makes, (std::vector<std::string_view>{"dphi", "dgamma", "dalpha", "dbias"}));
  // A warp has 16 columns of a stream; one block more is for dalpha and dbias.
  const std::int64_t warps = constant(last, "group_blocks") * constant(last, "block_tiles");
  EXPECT_GE(warps * 16, problem.columns());
  EXPECT_EQ(plan.grid(finish, 1, device_of(problem.architecture)),
            (Grid{static_cast<std::uint32_t>((warps + 7) / 8 + 1)}));
}

TEST(BackwardOnePass, LaunchesClustersAndThenTheirSums) {
  const Problem problem = backward_of(4, 4096);
  const PlanPtr plan = plan_of(problem, "one_pass uses_clusters=1");
  expect_sums_follow(*plan);
  const Kernel& kernel = plan->kernels()[main_kernel];
  const auto cluster_size = static_cast<std::uint32_t>(*plan->parameter("group_blocks"));
  EXPECT_EQ(kernel.max_cluster_size, static_cast<int>(cluster_size));
  EXPECT_TRUE(kernel.is_persistent);
  EXPECT_FALSE(kernel.is_cooperative);
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(plan->grid(main_kernel, 3 * tokens_per_tile + 1, device), (Grid{4 * cluster_size, 1, cluster_size}));
  EXPECT_EQ(plan->grid(main_kernel, 1, device), (Grid{cluster_size, 1, cluster_size}));
  EXPECT_EQ(plan->zeroed_bytes(8192), 0u);
}

// Groups of more blocks than a cluster has.
TEST(BackwardOnePass, LaunchesBlocksThatRunAtTheSameTimeAndThenTheirSums) {
  const Problem problem = backward_of(4, 7168);
  const PlanPtr plan = plan_of(problem, "one_pass uses_clusters=0");
  expect_sums_follow(*plan);
  const Kernel& kernel = plan->kernels()[main_kernel];
  const auto group_blocks = static_cast<std::uint32_t>(*plan->parameter("group_blocks"));
  EXPECT_EQ(kernel.max_cluster_size, 0);
  EXPECT_FALSE(kernel.is_persistent);
  EXPECT_TRUE(kernel.is_cooperative);
  EXPECT_EQ(kernel.min_blocks, static_cast<int>(group_blocks));
  const Device& device = device_of(problem.architecture);
  const std::uint32_t groups = static_cast<std::uint32_t>(device.multiprocessors) / group_blocks;
  EXPECT_EQ(plan->grid(main_kernel, 1, device), (Grid{group_blocks}));
  EXPECT_EQ(plan->grid(main_kernel, 1 << 20, device), (Grid{groups * group_blocks}));
}

// Four times the sums of the groups and 200 bytes a token, beside the ring of partial sums.
TEST(BackwardOnePass, TheWorkspaceIsBoundedAndGrowsWithT) {
  for_many_plans([](const Plan& plan) {
    const Problem& problem = plan.problem();
    const std::int64_t group_blocks = *plan.parameter("group_blocks");
    const std::int64_t most_groups = groups_at_once(plan);
    EXPECT_EQ(plan.workspace_bytes(0), 0u);
    std::size_t before = 0;
    for (const std::int64_t tokens : token_counts) {
      const std::int64_t groups = std::min((tokens + tokens_per_tile - 1) / tokens_per_tile, most_groups);
      const std::size_t bytes = plan.workspace_bytes(tokens);
      const std::size_t ring = plan.zeroed_bytes(tokens);
      EXPECT_LE(ring, static_cast<std::size_t>(groups * 4 * tokens_per_tile * group_blocks * 32));
      EXPECT_LE(bytes - ring,
                static_cast<std::size_t>(4 * problem.rows() * problem.columns() * 4 * groups + 200 * tokens));
      EXPECT_GE(bytes, before);
      before = bytes;
    }
  });
}

TEST(BackwardOnePass, RegionsAreAlignedApartAndInside) {
  constexpr std::uintptr_t base = 4096;
  for_many_plans([](const Plan& plan) {
    const Problem& problem = plan.problem();
    for (const std::int64_t tokens : {1, 17, 8192}) {
      OnePassBackwardWork work = {};
      plan.fill_work(tokens, reinterpret_cast<void*>(base), &work);
      const auto offset = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) - base; };
      const auto groups = static_cast<std::size_t>(
          std::min<std::int64_t>((tokens + tokens_per_tile - 1) / tokens_per_tile, groups_at_once(plan)));
      EXPECT_EQ(offset(work.exchange), 0u) << "what begins as zeros comes first";
      EXPECT_GE(offset(work.phi_sums), plan.zeroed_bytes(tokens));
      for (const std::size_t region : {offset(work.phi_sums), offset(work.logit_sums), offset(work.groups)})
        EXPECT_EQ(region % 16, 0u);
      const auto sums = static_cast<std::size_t>(problem.rows() * problem.columns());
      EXPECT_GE(offset(work.logit_sums) - offset(work.phi_sums), groups * sums * 4);
      EXPECT_GE(offset(work.groups) - offset(work.logit_sums),
                groups * 2 * static_cast<std::size_t>(problem.rows() + 3) * 4);
      EXPECT_GE(plan.workspace_bytes(tokens) - offset(work.groups), sizeof(int));
    }
  });
}

}  // namespace
}  // namespace mhcjit::codegen
