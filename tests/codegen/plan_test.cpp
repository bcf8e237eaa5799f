// Every legal candidate of every family of every operator fits the device and the launch: what a new family is held to
// without a test of its own.
#include "codegen/plan.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "tests/codegen/problems.h"

namespace mhcjit::codegen {
namespace {

constexpr std::int64_t token_counts[] = {1, 2, 7, 13, 16, 17, 31, 32, 33, 137, 512, 1023, 8192, 65536, 1 << 30};

TEST(Plan, IsLegalOrRejectedWithTheReasonOnEveryArchitecture) {
  for_many_problems([](const Problem& problem) {
    int legal = 0;
    for (const auto& [family, candidate] : candidates(problem, device_of(problem.architecture))) {
      const std::string parameters = to_string(candidate.parameters);
      EXPECT_FALSE(parameters.empty()) << family;
      EXPECT_NE(candidate.legal(), !candidate.rejected.empty()) << family << " " << parameters;
      if (!candidate.legal()) continue;
      ++legal;
      EXPECT_EQ(candidate.plan->family(), family);
      EXPECT_EQ(candidate.plan->parameters(), candidate.parameters);
      EXPECT_EQ(candidate.plan->problem(), problem);
    }
    EXPECT_GE(legal, 1) << to_string(problem) << " has no plan";
  });
}

TEST(Plan, NamesTellCandidatesApart) {
  for_many_problems([](const Problem& problem) {
    std::set<std::string> names;
    for (const auto& [family, candidate] : candidates(problem, device_of(problem.architecture)))
      EXPECT_TRUE(names.insert(std::string(family) + " " + to_string(candidate.parameters)).second) << *names.rbegin();
  });
}

TEST(Plan, KernelsFitTheDevice) {
  // What every device that can run the kernels has, and what a block takes more than it asks for.
  static constexpr int threads_of_multiprocessor = 1536;
  static constexpr int reserved_smem_bytes = 1024;
  for_many_problems([](const Problem& problem) {
    const Device& device = device_of(problem.architecture);
    for_legal_plans(problem, [&](const Plan& plan) {
      ASSERT_FALSE(plan.kernels().empty());
      for (const Kernel& kernel : plan.kernels()) {
        SCOPED_TRACE(kernel.name);
        EXPECT_EQ(kernel.threads_per_block % warp_size, 0);
        EXPECT_GE(kernel.threads_per_block, warp_size);
        EXPECT_LE(kernel.threads_per_block, 1024);
        EXPECT_GE(kernel.min_blocks_per_multiprocessor, 1);
        EXPECT_LE(kernel.min_blocks_per_multiprocessor * kernel.threads_per_block, threads_of_multiprocessor);
        EXPECT_LE((kernel.dynamic_smem_bytes + reserved_smem_bytes) * kernel.min_blocks_per_multiprocessor,
                  device.smem_bytes_per_multiprocessor);
        EXPECT_LE(kernel.dynamic_smem_bytes, max_opt_in_smem_bytes);
        EXPECT_LE(kernel.max_cluster_size, device.has_clusters() ? max_cluster_size : 0);
        EXPECT_LE(kernel.maps.size(), max_tensor_maps);
        EXPECT_EQ(kernel.work.empty(), kernel.work_bytes == 0);
        EXPECT_LE(kernel.work_bytes, max_work_bytes);
      }
    });
  });
}

// The launch looks these up in the operator's table.
TEST(Plan, KernelsNameTensorsOfTheOperator) {
  for_many_problems([](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      for (const Kernel& kernel : plan.kernels()) {
        for (const TensorMap& map : kernel.maps) {
          const Tensor* tensor = problem.op->find_tensor(map.tensor);
          ASSERT_NE(tensor, nullptr) << map.tensor;
          EXPECT_TRUE(tensor->exists(problem)) << map.tensor;
          EXPECT_EQ(tensor->dtype(problem), map.has_x_dtype ? problem.dtype : DType::fp32) << map.tensor;
          EXPECT_EQ(tensor->shape, map.has_streams ? "T n D" : "T D") << map.tensor;
          EXPECT_EQ(problem.d * bytes_of(tensor->dtype(problem)) % 16, 0) << "rows that a map cannot step by";
        }
        for (const std::string_view output : kernel.makes) {
          const Tensor* tensor = problem.op->find_tensor(output);
          ASSERT_NE(tensor, nullptr) << output;
          EXPECT_TRUE(tensor->is_output()) << output;
        }
      }
    });
  });
}

TEST(Plan, EveryOutputHasAKernelThatMakesIt) {
  for_many_problems([](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      for (const Tensor& tensor : problem.op->tensors) {
        if (!tensor.is_output()) continue;
        EXPECT_TRUE(std::ranges::any_of(plan.kernels(), [&](const Kernel& kernel) {
          return kernel.makes.empty() || std::ranges::count(kernel.makes, tensor.name) != 0;
        })) << tensor.name;
      }
    });
  });
}

TEST(Plan, KernelsOfAPlanHaveNamesOfTheirOwn) {
  for_many_problems([](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      std::set<std::string> names;
      for (const Kernel& kernel : plan.kernels()) {
        EXPECT_TRUE(names.insert(kernel.name).second) << kernel.name;
        EXPECT_EQ(kernel.entry(), "mhcjit_" + kernel.name);
      }
    });
  });
}

TEST(Plan, GridsStayWithinTheDriversLimits) {
  const auto expect_within = [](const Plan& plan, std::int64_t tokens) {
    const Device& device = device_of(plan.problem().architecture);
    for (std::size_t i = 0; i < plan.kernels().size(); ++i) {
      const Kernel& kernel = plan.kernels()[i];
      const Grid grid = plan.grid(i, tokens, device);
      SCOPED_TRACE(kernel.name + " T=" + std::to_string(tokens));
      EXPECT_GE(grid.x, 1u);
      EXPECT_LE(grid.x, max_blocks);
      EXPECT_GE(grid.y, 1u);
      EXPECT_LE(grid.y, 65535u);
      EXPECT_LE(grid.cluster_size, static_cast<std::uint32_t>(kernel.max_cluster_size));
      EXPECT_EQ(grid.cluster_size == 0, kernel.max_cluster_size == 0);
      if (grid.cluster_size != 0) {
        EXPECT_EQ(grid.x % grid.cluster_size, 0u);
      }
    }
  };
  for_many_problems([&](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      for (const std::int64_t tokens : token_counts) expect_within(plan, tokens);
    });
    for (const Bucket& bucket : llvm::cantFail(choose(problem))) {
      SCOPED_TRACE(to_string(problem) + ": " + to_string(*bucket.plan));
      expect_within(*bucket.plan, bucket.max_tokens);
    }
  });
}

// A tile of 8 tokens in a cluster of 16 would be 2^32 blocks, of which 32 bits keep none.
TEST(Plan, GridsOfPersistentKernelsReachTheLargestT) {
  for_many_problems([](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      for (std::size_t i = 0; i < plan.kernels().size(); ++i)
        if (plan.kernels()[i].is_persistent) {
          const Device& device = device_of(problem.architecture);
          EXPECT_GE(plan.grid(i, max_tokens, device).x, plan.grid(i, 1 << 20, device).x);
        }
    });
  });
}

TEST(Plan, TakesLongerForMoreTokens) {
  for_many_problems([](const Problem& problem) {
    const Device& device = device_of(problem.architecture);
    for_legal_plans(problem, [&](const Plan& plan) {
      EXPECT_GT(plan.cost_us(1, device), 1.0) << "a launch alone takes longer";
      EXPECT_GT(plan.cost_us(1 << 20, device), plan.cost_us(1 << 14, device));
      EXPECT_LT(plan.cost_us(1 << 20, device), 200 * plan.cost_us(1 << 14, device));
    });
  });
}

TEST(Plan, WorkspaceNeverShrinksAsTGrows) {
  for (const Operator* op : operators())
    for (const int n : {1, 4})
      for (const std::int64_t d : {127, 256}) {
        const Problem problem = {op, n, d, DType::fp16, true, false, hopper};
        for_legal_plans(problem, [&](const Plan& plan) {
          EXPECT_EQ(plan.workspace_bytes(0), 0u);
          std::size_t previous = 0;
          for (std::int64_t tokens = 1; tokens < 3000; ++tokens) {
            const std::size_t bytes = plan.workspace_bytes(tokens);
            ASSERT_GE(bytes, previous) << tokens;
            ASSERT_EQ(bytes % 16, 0u) << tokens;
            previous = bytes;
          }
        });
      }
}

TEST(Plan, WorkspaceHoldsNoCopyOfX) {
  constexpr std::int64_t tokens = 8192;
  for (const Operator* op : operators())
    for (const DType dtype : dtypes) {
      const Problem problem = {op, 4, 4096, dtype, true, false, hopper};
      const auto x_floats_bytes = static_cast<std::size_t>(tokens * problem.columns() * 4);
      for_legal_plans(problem, [&](const Plan& plan) { EXPECT_LT(plan.workspace_bytes(tokens), x_floats_bytes / 10); });
    }
}

// Those who hand the workspace to kernels write nothing beyond the struct that kernels are launched with.
TEST(Plan, FillsTheWorkStructAndNoMore) {
  for_many_problems([](const Problem& problem) {
    for_legal_plans(problem, [&](const Plan& plan) {
      constexpr auto untouched = std::byte{0xa5};
      alignas(16) std::array<std::byte, max_work_bytes> work;
      work.fill(untouched);
      plan.fill_work(13, nullptr, work.data());
      std::size_t work_bytes = 0;
      for (const Kernel& kernel : plan.kernels()) work_bytes = std::max(work_bytes, kernel.work_bytes);
      EXPECT_TRUE(std::all_of(work.begin() + static_cast<std::ptrdiff_t>(work_bytes), work.end(),
                              [](std::byte one) { return one == untouched; }));
    });
  });
}

}  // namespace
}  // namespace mhcjit::codegen
