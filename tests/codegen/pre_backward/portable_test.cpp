// The portable family of pre_backward: every problem has a plan, its blocks cover rows, columns and tokens, and the
// workspace's regions hold what the kernels write.
#include "templates/pre_backward/portable_work.cuh"

#include <algorithm>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

constexpr std::int64_t token_counts[] = {1, 2, 7, 13, 16, 17, 31, 32, 33, 137, 512, 1023, 8192, 65536, max_tokens};
constexpr std::uintptr_t base = 4096;
constexpr std::int64_t tile_tokens = 16;

enum KernelIndex : std::size_t { coefficients, dx, phi };

Problem backward_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true,
                    const Architecture& architecture = hopper) {
  return {&pre_backward, n, d, dtype, has_gamma, false, architecture};
}

// The usual one for many tokens, or for few, of as many splits at most.
PlanPtr portable(const Problem& problem, int splits_in_dx = 0) {
  return plan_of(problem,
                 fmt::format("portable tiles_per_warp=1 warps_per_stream=2 streams_per_block={} splits_in_dx={}",
                             problem.n, splits_in_dx));
}

PortableBackwardWork work_of(const Plan& plan, std::int64_t tokens) {
  PortableBackwardWork work = {};
  plan.fill_work(tokens, reinterpret_cast<void*>(base), &work);
  return work;
}

TEST(Portable, LegalPlansCoverTheProblem) {
  for (int n = 1; n <= max_n; ++n)
    for (const std::int64_t d : {1, 2, 3, 8, 127, 1000, 1920, 4096, 5129, 1 << 24})
      for (const DType dtype : dtypes) {
        const Problem problem = backward_of(n, d, dtype, n % 2 == 0);
        for (const Candidate& candidate : candidates_of(problem, "portable")) {
          if (!candidate.legal()) continue;
          SCOPED_TRACE(to_string(problem) + ": " + to_string(*candidate.plan));
          const Kernel& kernel = candidate.plan->kernels()[dx];
          const std::int64_t splits = *candidate.plan->parameter("splits_in_dx");
          const std::int64_t vec_size = constant(kernel, "vec_size");
          const bool is_aligned = d % vec_size == 0;
          EXPECT_LE(vec_size * bytes_of(dtype), 16);
          EXPECT_TRUE(is_aligned || vec_size * bytes_of(dtype) == 16);
          const std::int64_t phases = work_of(*candidate.plan, 8192).phases;
          EXPECT_TRUE(is_aligned ? phases == 1 : phases * problem.columns() * bytes_of(dtype) % 32 == 0);
          EXPECT_TRUE(phases == 1 || splits == 0);
          const std::int64_t streams = constant(kernel, "streams_per_block");
          const std::int64_t warps = constant(kernel, "warps_per_stream");
          EXPECT_EQ(kernel.threads_per_block, streams * warps * warp_size);
          const std::int64_t columns = warps * constant(kernel, "tiles_per_warp") * 16;
          const std::int64_t shift = is_aligned ? 0 : 32 / bytes_of(dtype) - 1;
          const std::int64_t column_blocks = (d + shift + columns - 1) / columns;
          const std::int64_t blocks = column_blocks * ((n + streams - 1) / streams) * constant(kernel, "row_blocks");
          const Grid grid = candidate.plan->grid(dx, 8192, device_of(hopper));
          EXPECT_EQ(grid.x, splits == 0 ? blocks : (blocks + 1) * splits);
          EXPECT_EQ(grid.cluster_size, splits > 1 ? splits : 0);
          EXPECT_EQ(kernel.max_cluster_size, grid.cluster_size);
          EXPECT_EQ(candidate.plan->kernels().size(), splits == 0 ? 3u : 2u);
        }
      }
}

TEST(Portable, RejectsWithTheReason) {
  EXPECT_TRUE(rejections(backward_of(4, 16), "portable").contains("32 columns are twice as many as D has"));
  EXPECT_TRUE(rejections(backward_of(4, 4096), "portable").contains("32 warps, allowed: up to 16"));
  EXPECT_TRUE(rejections(backward_of(16, 4096), "portable")
                  .contains("288 rows are of several blocks, none of which can make dgamma"));
  EXPECT_TRUE(rejections(backward_of(4, 4096), "portable").contains("8 tiles of sums do not divide among 16 blocks"));
  EXPECT_TRUE(rejections(backward_of(4, 4096, DType::bf16, true, {8, 0, 0}), "portable")
                  .contains("it needs clusters: sm_90, sm_100 and sm_103, not sm_80"));
}

TEST(Portable, FewTokensAndManyShareKernels) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  for (const int splits : {1, 2, 8}) {
    const PlanPtr other = portable(backward_of(4, 4096), splits);
    for (const std::size_t kernel : {coefficients, dx})
      EXPECT_EQ(emit(plan->problem(), plan->kernels()[kernel]), emit(other->problem(), other->kernels()[kernel]));
  }
}

TEST(Portable, ManyTokensFillTheDeviceOnce) {
  const Device& device = device_of(hopper);
  for (const std::int64_t d : {1280, 2560, 4096, 5129, 7168}) {
    const PlanPtr plan = portable(backward_of(4, d));
    const Grid grid = plan->grid(dx, 8192, device);
    const std::uint32_t at_once = device.multiprocessors * plan->kernels()[dx].min_blocks_per_multiprocessor;
    EXPECT_LE(grid.x * grid.y, at_once);
    EXPECT_GT(grid.x * (grid.y + 1), at_once * 9 / 10);
  }
}

// 80 blocks of one split would leave 52 multiprocessors idle.
TEST(Portable, ManyTokensFillTwoWavesWhereOneLeavesMuchIdle) {
  const PlanPtr plan = plan_of(backward_of(8, 2560, DType::bf16, false),
                               "portable tiles_per_warp=2 warps_per_stream=1 streams_per_block=8 splits_in_dx=0");
  EXPECT_EQ(plan->kernels()[dx].min_blocks_per_multiprocessor, 1);
  EXPECT_EQ(plan->grid(dx, 8192, device_of(hopper)), (Grid{80, 3}));
}

TEST(Portable, OnlyFewTokensLeaveSharedMemory) {
  EXPECT_FALSE(portable(backward_of(4, 4096))->kernels()[coefficients].leaves_shared_memory);
  for (const int splits : {1, 2})
    EXPECT_TRUE(portable(backward_of(4, 4096), splits)->kernels()[coefficients].leaves_shared_memory);
}

TEST(Portable, LaunchesWhatWantedOutputsNeed) {
  using Names = std::vector<std::string_view>;
  const PlanPtr many = portable(backward_of(4, 4096));
  EXPECT_TRUE(many->kernels()[coefficients].makes.empty()) << "all others read what it makes";
  EXPECT_EQ(many->kernels()[dx].makes, (Names{"dx", "dphi", "dgamma"}));
  EXPECT_EQ(many->kernels()[phi].makes, (Names{"dphi", "dgamma", "dalpha", "dbias"}));
  for (const int splits : {1, 2})
    for (const Kernel& kernel : portable(backward_of(4, 4096), splits)->kernels()) EXPECT_TRUE(kernel.makes.empty());
}

TEST(Portable, NoSplitIsEmpty) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  for (const std::int64_t tokens : token_counts) {
    const PortableBackwardWork work = work_of(*plan, tokens);
    EXPECT_GE(work.token_splits, 1);
    EXPECT_LE(work.token_splits, (tokens + tile_tokens - 1) / tile_tokens);
    EXPECT_EQ(plan->grid(dx, tokens, device_of(hopper)).y, static_cast<std::uint32_t>(work.token_splits));
    EXPECT_EQ(plan->grid(coefficients, tokens, device_of(hopper)).x, static_cast<std::uint32_t>(work.bias_slots));
    EXPECT_EQ(work_of(*portable(backward_of(4, 4096), 1), tokens).token_splits, 1);
    const PlanPtr clusters = portable(backward_of(4, 4096), 8);
    const int splits = work_of(*clusters, tokens).token_splits;
    EXPECT_LE(splits, (tokens + tile_tokens - 1) / tile_tokens) << "no block of a cluster is without tokens";
    const Grid grid = clusters->grid(dx, tokens, device_of(hopper));
    EXPECT_EQ(grid.cluster_size, static_cast<std::uint32_t>(splits));
    EXPECT_EQ(grid.y, 1u);
  }
}

TEST(Portable, RegionsAreAlignedApartAndInside) {
  const Problem problem = backward_of(3, 127);
  // 15 rows: high and low of 16 each, scaled of 16, two scalars and h_pre.
  constexpr std::size_t record_bytes = 7 * 16;
  for (const int splits : {0, 1, 2}) {
    const PlanPtr plan = portable(problem, splits);
    for (const std::int64_t tokens : token_counts) {
      const PortableBackwardWork work = work_of(*plan, tokens);
      const auto offset = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) - base; };
      for (const void* region : {static_cast<const void*>(work.records), static_cast<const void*>(work.bias_partials),
                                 static_cast<const void*>(work.phi_partials)})
        EXPECT_EQ(offset(region) % 16, 0u);
      EXPECT_GE(offset(work.bias_partials) - offset(work.records), static_cast<std::size_t>(tokens) * record_bytes);
      EXPECT_GE(offset(work.phi_partials) - offset(work.bias_partials),
                static_cast<std::size_t>(work.bias_slots) * 2 * static_cast<std::size_t>(problem.rows()) * 4);
      EXPECT_GE(plan->workspace_bytes(tokens) - offset(work.phi_partials),
                static_cast<std::size_t>(work.token_splits) *
                    static_cast<std::size_t>(problem.rows() * problem.columns()) * 4);
    }
  }
}

TEST(Portable, SplitsOfUnalignedRowsAreOfOnePhase) {
  const PlanPtr plan = portable(backward_of(4, 5129));
  for (const std::int64_t tokens : token_counts) {
    const PortableBackwardWork work = work_of(*plan, tokens);
    EXPECT_EQ(work.phases, 4);
    EXPECT_EQ(work.token_splits % work.phases, 0);
    const auto blocks = static_cast<int>(plan->grid(dx, tokens, device_of(hopper)).y);
    EXPECT_GE(blocks, 1);
    EXPECT_LE(blocks, work.token_splits);
  }
  const auto phases_of = [](const Problem& problem) {
    return work_of(*plan_of(problem, "portable splits_in_dx=0"), 8192).phases;
  };
  EXPECT_EQ(phases_of(backward_of(8, 5129)), 2);
  EXPECT_EQ(phases_of(backward_of(3, 5129)), 16);
  EXPECT_EQ(phases_of(backward_of(4, 5132)), 1);
  EXPECT_EQ(phases_of(backward_of(4, 5129, DType::fp32)), 2);
}

TEST(Portable, WorkspaceIsSmall) {
  const Problem problem = backward_of(4, 4096);
  const PlanPtr plan = portable(problem);
  const std::size_t of_splits = static_cast<std::size_t>(work_of(*plan, 8192).token_splits) * 24 * 4 * 4096 * 4;
  EXPECT_LE(plan->workspace_bytes(8192), of_splits + 8192 * 224 + 1024 * 200);
}

}  // namespace
}  // namespace mhcjit::codegen
