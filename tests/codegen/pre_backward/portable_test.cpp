// The portable family of pre_backward: every problem has a plan, its blocks cover rows, columns and tokens, and the
// workspace's regions hold what the kernels write.
#include "templates/pre_backward/portable_work.cuh"

#include <algorithm>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

constexpr std::int64_t token_counts[] = {1, 2, 7, 13, 16, 17, 31, 32, 33, 137, 512, 1023, 8192, 65536, max_tokens};
constexpr std::uintptr_t base = 4096;

enum KernelIndex : std::size_t { coefficients, dx, phi_partials, phi, bias };

Problem backward_of(int n, std::int64_t d, DType dtype = DType::bf16, bool has_gamma = true) {
  return {&pre_backward, n, d, dtype, has_gamma, false, hopper};
}

PlanPtr portable(const Problem& problem) { return plan_of(problem, "portable"); }

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
          const std::vector<Kernel>& kernels = candidate.plan->kernels();
          ASSERT_EQ(kernels.size(), 5u);
          for (const Kernel& kernel : kernels) EXPECT_LE(kernel.dynamic_smem_bytes, 48 * 1024) << kernel.name;
          const std::int64_t threads = constant(kernels[dx], "threads_per_block");
          const std::int64_t vec_size = constant(kernels[dx], "vec_size");
          EXPECT_EQ(d % vec_size, 0);
          EXPECT_LE(vec_size * bytes_of(dtype), 16);
          EXPECT_EQ(threads % constant(kernels[coefficients], "threads_per_token"), 0);
          const std::int64_t padded_rows = constant(kernels[phi_partials], "padded_rows");
          EXPECT_EQ(padded_rows, constant(kernels[phi_partials], "rows_per_thread") *
                                     constant(kernels[phi_partials], "row_warps") *
                                     constant(kernels[phi_partials], "row_blocks"));
          EXPECT_GE(padded_rows, problem.rows());
          EXPECT_EQ(threads % (warp_size * constant(kernels[phi_partials], "row_warps")), 0);
          const std::int64_t dx_columns = constant(kernels[dx], "dx_columns_per_block");
          EXPECT_EQ(dx_columns % vec_size, 0);
          EXPECT_EQ(threads % (dx_columns / vec_size), 0);
        }
      }
}

TEST(Portable, RejectsWithTheReason) {
  EXPECT_TRUE(rejections(backward_of(1, 2048), "portable").contains("2 warps of 12 rows are more than 3 rows need"));
}

TEST(Portable, KeepsAllRowsOfTheUsualShapeInOneBlock) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  const Kernel& kernel = plan->kernels()[phi_partials];
  EXPECT_EQ(constant(kernel, "row_blocks"), 1);
  EXPECT_EQ(constant(kernel, "padded_rows"), 24);
}

TEST(Portable, GridOfTheUsualShape) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  const Device& device = device_of(hopper);
  EXPECT_EQ(plan->grid(coefficients, 8192, device), (Grid{1024, 1}));
  EXPECT_EQ(plan->grid(dx, 8192, device), (Grid{32, 64}));
  EXPECT_EQ(plan->grid(phi_partials, 8192, device), (Grid{16, 16}));
  EXPECT_EQ(plan->grid(phi, 8192, device), (Grid{128, 1}));
  EXPECT_EQ(plan->grid(bias, 8192, device), (Grid{1, 1}));
}

TEST(Portable, LaunchesWhatWantedOutputsNeed) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  const std::vector<Kernel>& kernels = plan->kernels();
  EXPECT_TRUE(kernels[coefficients].makes.empty()) << "all others read what it makes";
  EXPECT_EQ(kernels[dx].makes, std::vector<std::string_view>{"dx"});
  EXPECT_EQ(kernels[phi_partials].makes, (std::vector<std::string_view>{"dphi", "dgamma"}));
  EXPECT_EQ(kernels[phi].makes, (std::vector<std::string_view>{"dphi", "dgamma"}));
  EXPECT_EQ(kernels[bias].makes, (std::vector<std::string_view>{"dalpha", "dbias"}));
}

TEST(Portable, TokenSplitsCoverEveryTokenAndNoneIsEmpty) {
  const PlanPtr plan = portable(backward_of(4, 4096));
  for (const std::int64_t tokens : token_counts) {
    const PortableBackwardWork work = work_of(*plan, tokens);
    EXPECT_GE(work.token_splits * work.tokens_per_split, tokens);
    EXPECT_LT((work.token_splits - 1) * work.tokens_per_split, tokens);
    EXPECT_EQ(plan->grid(phi_partials, tokens, device_of(hopper)).y, static_cast<std::uint32_t>(work.token_splits));
  }
}

TEST(Portable, RegionsAreAlignedApartAndInside) {
  const Problem problem = backward_of(3, 127);
  const PlanPtr plan = portable(problem);
  const auto padded_rows = static_cast<std::size_t>(constant(plan->kernels()[dx], "padded_rows"));
  for (const std::int64_t tokens : token_counts) {
    const PortableBackwardWork work = work_of(*plan, tokens);
    const auto offset = [](const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) - base; };
    for (const void* region : {work.dh_mix, work.x_coefficient, work.bias_partials, work.phi_partials})
      EXPECT_EQ(offset(region) % 16, 0u);
    const auto count = static_cast<std::size_t>(tokens);
    EXPECT_GE(offset(work.x_coefficient) - offset(work.dh_mix), count * padded_rows * 4);
    EXPECT_GE(offset(work.bias_partials) - offset(work.x_coefficient), count * 4);
    EXPECT_GE(offset(work.phi_partials) - offset(work.bias_partials),
              static_cast<std::size_t>(work.bias_slots) * 2 * static_cast<std::size_t>(problem.rows()) * 4);
    EXPECT_GE(
        plan->workspace_bytes(tokens) - offset(work.phi_partials),
        static_cast<std::size_t>(work.token_splits) * static_cast<std::size_t>(problem.rows() * problem.columns()) * 4);
  }
}

}  // namespace
}  // namespace mhcjit::codegen
