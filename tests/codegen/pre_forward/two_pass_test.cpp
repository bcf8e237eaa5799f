// The family of two passes: every problem has a plan on every architecture, legal ones fit the device and cover the
// problem, with clusters and without, and what cannot be is refused with the reason.
#include "templates/pre_forward/two_pass_work.cuh"

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

constexpr const char* no_clusters = "two_pass cluster_size=0";
constexpr const char* of_two = "two_pass compiled_cluster_size=2 cluster_size=2";

const Kernel& kernel_of(const Plan& plan, std::string_view name) {
  for (const Kernel& kernel : plan.kernels())
    if (kernel.name == name) return kernel;
  ADD_FAILURE() << to_string(plan) << " has no kernel " << name;
  return plan.kernels().front();
}

const Kernel& project_of(const Plan& plan) {
  return kernel_of(plan, *plan.parameter("uses_wgmma") != 0 ? "pre_forward_project_wgmma" : "pre_forward_project");
}

// Columns of packed phi: warp groups begin each stream with a chunk of its own.
std::int64_t packed_columns(const Plan& plan) {
  const Problem& problem = plan.problem();
  const auto chunks = [](std::int64_t columns) { return (columns + 63) / 64 * 64; };
  return *plan.parameter("uses_wgmma") != 0 ? chunks(problem.d) * problem.n : chunks(problem.columns());
}

TEST(TwoPass, EveryProblemHasAPlanWithoutClustersOnEveryArchitecture) {
  for (const Architecture& architecture : architectures)
    for (int n = 1; n <= max_n; ++n)
      for (const std::int64_t d : {std::int64_t{1}, std::int64_t{127}, std::int64_t{2560}, max_d})
        for (const DType dtype : dtypes)
          EXPECT_EQ(refusal(forward_of(n, d, dtype, true, architecture), no_clusters), "accepted") << n << " " << d;
}

TEST(TwoPass, LegalPlansCoverTheProblem) {
  int with_clusters = 0;
  for (int n = 1; n <= max_n; ++n)
    for (const std::int64_t d : {std::int64_t{1}, std::int64_t{4}, std::int64_t{127}, std::int64_t{200},
                                 std::int64_t{2048}, std::int64_t{4100}, std::int64_t{5129}, max_d})
      for (const DType dtype : dtypes) {
        const Problem problem = forward_of(n, d, dtype);
        for (const Candidate& candidate : candidates_of(problem, "two_pass")) {
          if (!candidate.legal()) continue;
          const Plan& plan = *candidate.plan;
          SCOPED_TRACE(to_string(problem) + ": " + to_string(plan));
          const auto is = [&](std::string_view name) { return *plan.parameter(name); };
          const Kernel& project = project_of(plan);
          const auto of = [&](std::string_view name) { return constant(project, name); };
          EXPECT_GE(of("pipeline_stages"), 2);
          EXPECT_GE(of("row_tiles") * 8 * of("row_blocks"), problem.rows());
          EXPECT_LT(of("row_tiles") * 8 * (of("row_blocks") - 1), problem.rows());
          EXPECT_EQ(of("columns_per_split") % 64, 0);
          EXPECT_EQ(of("columns_per_split") % of("columns_per_sum"), 0);
          EXPECT_LE(of("columns_per_sum"), is("uses_wgmma") != 0 ? 2048 : 8192);
          EXPECT_GE(of("k_splits") * of("columns_per_split"), packed_columns(plan));
          EXPECT_LT((of("k_splits") - 1) * of("columns_per_split"), packed_columns(plan));
          const std::int64_t pack_columns = constant(plan.kernels().front(), "pack_columns");
          EXPECT_EQ(pack_columns % 64, 0);
          // The columns that have one scale.
          if (dtype == DType::fp16) {
            EXPECT_EQ(pack_columns, of("columns_per_sum"));
          }
          EXPECT_EQ(of("in_cluster"), is("cluster_size") != 0 ? 1 : 0);
          EXPECT_EQ(plan.kernels().size(), is("cluster_size") != 0 ? 2u : 3u);
          EXPECT_EQ(problem.d % constant(project, "vec_size"), 0);
          EXPECT_LE(constant(project, "vec_size") * bytes_of(dtype), 16);
          EXPECT_EQ(constant(project, "threads_per_block") % constant(project, "threads_per_token"), 0);
          if (is("cluster_size") == 0) continue;
          ++with_clusters;
          EXPECT_EQ(of("k_splits") * of("row_blocks"), is("compiled_cluster_size"));
          EXPECT_LE(is("compiled_cluster_size"), is("cluster_size"));
          EXPECT_EQ(is("cluster_size") % of("row_blocks"), 0);
          EXPECT_EQ(project.max_cluster_size, is("cluster_size"));
        }
      }
  EXPECT_GT(with_clusters, 500);
}

TEST(TwoPass, RejectsWithTheReason) {
  const std::set<std::string> eight = rejections(forward_of(8, 2048), "two_pass");
  EXPECT_TRUE(eight.contains("32 tokens by 80 rows need 218 registers a thread, 2 blocks a multiprocessor leave 128"));
  EXPECT_TRUE(eight.contains("7 blocks of 16 rows leave the last without any of 80"));
  EXPECT_TRUE(rejections(forward_of(4, 127), "two_pass").contains("D is 127, tensor maps need a multiple of 8"));
  EXPECT_TRUE(rejections(forward_of(4, 128, DType::fp32), "two_pass")
                  .contains("x in fp32 becomes two terms, which warp groups do not make"));
  const std::set<std::string> small = rejections(forward_of(4, 4096, DType::fp32, true, {8, 6, 0}), "two_pass");
  EXPECT_TRUE(small.contains("1 blocks of 144384 bytes of shared memory, a multiprocessor of sm_86 has 102400"));
  EXPECT_TRUE(small.contains("products of warp groups need sm_90a, not sm_86"));
  EXPECT_TRUE(rejections(forward_of(4, 4096, DType::bf16, true, {8, 0, 0}), "two_pass")
                  .contains("it needs clusters: sm_90, sm_100 and sm_103, not sm_80"));
  EXPECT_TRUE(
      rejections(forward_of(1, 60), "two_pass").contains("60 columns are too few for 2 ranges of whole chunks"));
  EXPECT_TRUE(rejections(forward_of(8, 4096, DType::fp32), "two_pass")
                  .contains("16384 columns are too many for one sum, allowed: up to 8192"));
  EXPECT_TRUE(rejections(forward_of(4, 4000, DType::fp16), "two_pass")
                  .contains("fp16 of single warps is scaled for each range of columns, which are as many as phi was "
                            "packed for"));
}

// The largest tile of tokens that registers hold: each reads phi anew.
TEST(TwoPass, KeepsAllRowsOfEightStreamsInOneBlock) {
  const PlanPtr plan = plan_of(forward_of(8, 2048, DType::bf16, true, {10, 0, 'a'}), no_clusters);
  const Kernel& project = project_of(*plan);
  EXPECT_EQ(constant(project, "tokens_per_warp"), 32);
  EXPECT_EQ(constant(project, "row_tiles"), 10);
  EXPECT_EQ(constant(project, "row_blocks"), 1);
  EXPECT_EQ(constant(project, "pipeline_stages"), 4);
}

TEST(TwoPass, KeepsAllRowsOfTheUsualShapeInOneBlock) {
  const PlanPtr plan = plan_of(forward_of(4, 4096), no_clusters);
  const Kernel& project = project_of(*plan);
  EXPECT_EQ(constant(project, "row_blocks"), 1);
  EXPECT_EQ(constant(project, "row_tiles"), 3);
}

// Where the device has them: with as many rows of phi as a warp's registers hold.
TEST(TwoPass, MultipliesByWarpGroups) {
  const Problem problem = forward_of(8, 2048);
  const PlanPtr plan = plan_of(problem, no_clusters);
  const Kernel& project = project_of(*plan);
  EXPECT_EQ(project.entry(), "mhcjit_pre_forward_project_wgmma");
  EXPECT_EQ(constant(project, "row_tiles"), 10);
  EXPECT_EQ(constant(project, "row_blocks"), 1);
  EXPECT_EQ(constant(project, "k_splits"), 2);
  EXPECT_EQ(constant(project, "columns_per_split"), 8192);
  EXPECT_EQ(constant(project, "columns_per_sum"), 2048);
  EXPECT_EQ(project.threads_per_block, 384);
  ASSERT_EQ(project.maps.size(), 1u);
  EXPECT_EQ(project.maps.front(), (TensorMap{"x", 64, 128, 1}));
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(plan->grid(1, 129, device), (Grid{2, 2}));
  // Each stream has chunks of its own, the last of which ends beyond D: phi of 8 streams of 128 columns is packed.
  const PlanPtr beyond = plan_of(forward_of(8, 72), "two_pass cluster_size=0 uses_wgmma=1");
  EXPECT_EQ(beyond->grid(0, 1, device).x * constant(beyond->kernels().front(), "pack_columns"), 8 * 128);
  for (const Problem& other : {forward_of(8, 127), forward_of(8, 2048, DType::fp32)})
    EXPECT_EQ(plan_of(other, no_clusters)->parameter("uses_wgmma"), 0);
}

TEST(TwoPass, PacksPhiThenMultipliesThenApplies) {
  const Problem problem = forward_of(16, 2048, DType::bf16, true, {10, 0, 'a'});
  const PlanPtr plan = plan_of(problem, no_clusters);
  const std::vector<Kernel>& kernels = plan->kernels();
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels[0].name, "pre_forward_pack_phi");
  EXPECT_EQ(kernels[1].name, "pre_forward_project");
  EXPECT_EQ(kernels[2].name, "pre_forward_apply");
  EXPECT_FALSE(kernels[0].overlaps_previous);
  EXPECT_TRUE(kernels[1].overlaps_previous);
  EXPECT_TRUE(kernels[2].overlaps_previous);
  const Kernel& project = kernels[1];
  const auto row_blocks = static_cast<std::uint32_t>(constant(project, "row_blocks"));
  EXPECT_GT(row_blocks, 1u);
  const std::int64_t tokens_per_block = 8 * constant(project, "tokens_per_warp");
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(plan->grid(1, 3 * tokens_per_block + 1, device),
            (Grid{4 * row_blocks, static_cast<std::uint32_t>(constant(project, "k_splits"))}));
  // phi is packed once, whatever T.
  EXPECT_EQ(plan->grid(0, 1, device),
            (Grid{16 * 2048 / 256, static_cast<std::uint32_t>(constant(project, "row_tiles")) * row_blocks}));
  EXPECT_EQ(plan->grid(0, 1, device), plan->grid(0, max_tokens, device));
}

TEST(TwoPass, GridOfTheUsualShape) {
  const Problem problem = forward_of(4, 4096);
  const PlanPtr plan = plan_of(problem, no_clusters);
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(plan->grid(0, 8192, device), (Grid{64, 3}));
  EXPECT_EQ(plan->grid(1, 8192, device), (Grid{64, 2}));
  EXPECT_EQ(plan->grid(2, 8192, device), (Grid{8192, 1}));
}

TEST(TwoPass, OverlapsKernelsOnlyWhereDevicesCan) {
  const PlanPtr plan = plan_of(forward_of(4, 4096, DType::bf16, true, {8, 0, 0}), "two_pass");
  for (const Kernel& kernel : plan->kernels()) EXPECT_FALSE(kernel.overlaps_previous) << kernel.name;
}

TEST(TwoPass, LaunchesWiderClustersForFewTokens) {
  const Problem problem = forward_of(8, 2048);
  const std::vector<Bucket> buckets =
      llvm::cantFail(choose(problem, {.wanted = "two_pass compiled_cluster_size=2 row_blocks=1"}));
  ASSERT_EQ(buckets.size(), 2u);
  const Plan& wide = *buckets[0].plan;
  const Plan& narrow = *buckets[1].plan;
  EXPECT_EQ(wide.parameter("cluster_size"), 8);
  EXPECT_EQ(narrow.parameter("cluster_size"), 2);
  ASSERT_EQ(wide.kernels().size(), 2u);
  EXPECT_EQ(wide.kernels()[0].max_cluster_size, 0);
  EXPECT_EQ(wide.kernels()[1].max_cluster_size, 8);
  const Device& device = device_of(problem.architecture);
  EXPECT_EQ(wide.grid(1, 129, device), (Grid{2 * 8, 1, 8}));
  EXPECT_EQ(narrow.grid(1, 8192, device), (Grid{64 * 2, 1, 2}));
  // As long as a few turns of wide clusters take less than one of narrow ones, which leave multiprocessors idle.
  EXPECT_GE(buckets[0].max_tokens, 3 * 15 * 128);
  EXPECT_LT(buckets[0].max_tokens, 8192);
}

TEST(TwoPass, WorkspaceHoldsPartialSumsAndPackedPhi) {
  constexpr std::uintptr_t base = 4096;
  const auto offset = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) - base; };
  const auto work_of = [](const Plan& plan, std::int64_t tokens) {
    TwoPassWork work = {};
    plan.fill_work(tokens, reinterpret_cast<void*>(base), &work);
    return work;
  };
  const PlanPtr bf16 = plan_of(forward_of(8, 2048), no_clusters);
  const TwoPassWork work = work_of(*bf16, 10);
  const auto splits = static_cast<std::size_t>(constant(project_of(*bf16), "k_splits"));
  const std::size_t partial_bytes = (10 * splits * 81 * 4 + 15) / 16 * 16;
  EXPECT_EQ(offset(work.partial_sums), 0u);
  EXPECT_EQ(offset(work.packed_phi), partial_bytes);
  EXPECT_EQ(bf16->workspace_bytes(10), partial_bytes + std::size_t{80} * 8 * 2048 * 4);
  // fp16 has a factor for each row and range of columns that are summed together.
  const PlanPtr fp16 = plan_of(forward_of(8, 2048, DType::fp16), no_clusters);
  const auto columns_per_sum = static_cast<std::size_t>(constant(project_of(*fp16), "columns_per_sum"));
  EXPECT_EQ(fp16->workspace_bytes(10) - offset(work_of(*fp16, 10).phi_factors),
            std::size_t{80} * (8 * 2048 / columns_per_sum) * 4);
  EXPECT_EQ(constant(fp16->kernels().front(), "pack_columns"), static_cast<std::int64_t>(columns_per_sum));
  EXPECT_EQ(bf16->workspace_bytes(0), 0u);
}

TEST(TwoPass, NeedsNoWorkspaceForPartialSumsOfClusters) {
  const PlanPtr plan = plan_of(forward_of(8, 2048), of_two);
  EXPECT_EQ(plan->workspace_bytes(1), plan->workspace_bytes(1 << 20));
  EXPECT_EQ(plan->workspace_bytes(1), 4u * 80 * 8 * 2048);
}

TEST(TwoPass, WorkspaceIsSmallBesideX) {
  EXPECT_LT(plan_of(forward_of(4, 4096), no_clusters)->workspace_bytes(8192), std::size_t{8192} * 4 * 4096 * 4 / 50);
}

}  // namespace
}  // namespace mhcjit::codegen
