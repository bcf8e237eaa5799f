// Both operators on the device agree with the float64 oracle on every shape that users run and on those that have tails
// everywhere, write every output and nothing else.
#include <array>

#include <fmt/format.h>

#include "gpu_test.h"

namespace mhcjit::gpu {
namespace {

constexpr std::array<int, 6> model_widths = {1280, 1920, 2560, 4096, 5120, 7168};
constexpr std::array dtypes = {MHCJIT_BF16, MHCJIT_FP16, MHCJIT_FP32};
constexpr std::array dtype_names = {"bf16", "fp16", "fp32"};

// Cases that share their kernels or their purpose: one test.
struct Group {
  std::string name;
  std::vector<Case> cases;
};

Case make_case(std::int64_t T, int n, std::int64_t D, mhcjit_dtype dtype, bool has_gamma) {
  return {{{T, n, D, has_gamma}, dtype, static_cast<std::uint64_t>(T + 1000 * D + n)}};
}

std::vector<Group> decode() {
  std::vector<Group> groups;
  for (const int D : model_widths) {
    Group& group = groups.emplace_back(Group{fmt::format("D{}", D), {}});
    for (const int T : {1, 2, 16, 64, 256}) group.cases.push_back(make_case(T, 4, D, MHCJIT_BF16, D % 512 == 0));
  }
  return groups;
}

// The oracle sees every token and the whole of dphi. Larger T: large_test.cpp.
std::vector<Group> training() {
  std::vector<Group> groups;
  const auto add = [&](std::int64_t T, int D) {
    groups.push_back({fmt::format("T{}_D{}", T, D), {make_case(T, 4, D, MHCJIT_BF16, D % 512 == 0)}});
  };
  for (const int D : model_widths)
    for (const int T : {4096, 8192})
      if (T == 4096 || D == 2560 || D >= 7168) add(T, D);
  // More tiles than the tensor cores alone add up for dphi, in clusters and with the exchange through the L2 cache.
  add(32768, 2560);
  add(32768, 1920);
  return groups;
}

std::vector<Group> small() {
  std::vector<Group> groups;
  for (const auto& [T, D] : {std::pair{2 * 64, 128}, {2 * 256, 256}, {4 * 512, 512}})
    for (const mhcjit_dtype dtype : dtypes)
      groups.push_back({fmt::format("T{}_D{}_{}", T, D, dtype_names[dtype]),
                        {make_case(T, 4, D, dtype, false), make_case(T, 4, D, dtype, true)}});
  return groups;
}

std::vector<Group> odd() {
  std::vector<Group> groups;
  for (const int D : {127, 1920, 5129, 8000}) {
    for (const int n : {1, 2, 3, 6, 8, 16}) {
      const std::size_t index = groups.size();
      const mhcjit_dtype dtype = dtypes[index % dtypes.size()];
      const bool has_gamma = index % 2 == 0;
      Group& group = groups.emplace_back(
          Group{fmt::format("n{}_D{}_{}{}", n, D, dtype_names[dtype], has_gamma ? "_gamma" : ""), {}});
      for (const int T : {0, 1, 7, 13, 137}) group.cases.push_back(make_case(T, n, D, dtype, has_gamma));
    }
  }
  return groups;
}

// Rows that begin at multiples of 2, 4 and 8 bytes; as many tokens as several splits of each phase have, and fewer than
// there are phases.
std::vector<Group> unaligned() {
  std::vector<Group> groups;
  const auto add = [&](int n, int D, mhcjit_dtype dtype) {
    Group& group = groups.emplace_back(Group{fmt::format("n{}_D{}_{}", n, D, dtype_names[dtype]), {}});
    for (const int T : {2, 17, 513, 4097}) group.cases.push_back(make_case(T, n, D, dtype, n == 4));
  };
  for (const mhcjit_dtype dtype : dtypes) add(4, 5129, dtype);
  for (const int D : {5130, 5132}) add(4, D, MHCJIT_BF16);
  for (const int n : {1, 2}) add(n, 5129, MHCJIT_BF16);
  return groups;
}

std::vector<Group> values() {
  std::vector<Group> groups;
  for (const int D : {128, 1280}) {
    for (const mhcjit_dtype dtype : dtypes) {
      Group& group = groups.emplace_back(Group{fmt::format("D{}_{}", D, dtype_names[dtype]), {}});
      for (const bool has_gamma : {false, true}) {
        for (const double x_std : {0.05, 1.0, 20.0}) {
          for (const auto& alpha : {oracle::initial_alpha, oracle::trained_alpha}) {
            Case item = make_case(137, 4, D, dtype, has_gamma);
            item.random.x_std = x_std;
            item.random.alpha = alpha;
            group.cases.push_back(item);
          }
        }
        for (const double post_mult : {1.0, 0.0, -0.5}) {
          Case item = make_case(137, 4, D, dtype, has_gamma);
          item.random.post_mult = post_mult;
          group.cases.push_back(item);
        }
      }
    }
  }
  return groups;
}

// dx in fp32, on each width of a load.
std::vector<Group> fp32_dx() {
  std::vector<Group> groups;
  for (const int D : {127, 1922, 2560, 4096}) {
    Group& group = groups.emplace_back(Group{fmt::format("D{}", D), {}});
    for (const mhcjit_dtype dtype : dtypes) {
      for (const double x_std : {0.05, 1.0, 20.0}) {
        Case item = make_case(137, 4, D, dtype, D % 512 == 0);
        item.random.x_std = x_std;
        item.fp32_dx = true;
        group.cases.push_back(item);
      }
    }
  }
  return groups;
}

// Whether the running suite holds a test of this group that was not filtered out.
bool is_selected(const Group& group) {
  const ::testing::TestSuite& suite = *::testing::UnitTest::GetInstance()->current_test_suite();
  for (int i = 0; i < suite.total_test_count(); ++i)
    if (suite.GetTestInfo(i)->should_run() &&
        std::string_view(suite.GetTestInfo(i)->name()).ends_with("/" + group.name))
      return true;
  return false;
}

class Accuracy : public GpuTest, public ::testing::WithParamInterface<Group> {
 protected:
  static void SetUpTestSuite() {
    const Gpu* gpu = find_gpu();
    if (gpu == nullptr) return;
    std::vector<mhcjit_problem> problems;
    for (const auto& groups : {decode(), training(), small(), odd(), unaligned(), values(), fp32_dx()})
      for (const Group& group : groups)
        if (is_selected(group))
          for (const mhcjit_problem& problem : problems_of(group.cases)) problems.push_back(problem);
    compile_all(*gpu, problems);
  }
};

TEST_P(Accuracy, MatchesTheOracle) {
  for (const Case& item : GetParam().cases) expect_matches_oracle(item);
}

std::string group_name(const ::testing::TestParamInfo<Group>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Decode, Accuracy, ::testing::ValuesIn(decode()), group_name);
INSTANTIATE_TEST_SUITE_P(Training, Accuracy, ::testing::ValuesIn(training()), group_name);
INSTANTIATE_TEST_SUITE_P(Small, Accuracy, ::testing::ValuesIn(small()), group_name);
INSTANTIATE_TEST_SUITE_P(Odd, Accuracy, ::testing::ValuesIn(odd()), group_name);
INSTANTIATE_TEST_SUITE_P(Unaligned, Accuracy, ::testing::ValuesIn(unaligned()), group_name);
INSTANTIATE_TEST_SUITE_P(Values, Accuracy, ::testing::ValuesIn(values()), group_name);
INSTANTIATE_TEST_SUITE_P(Fp32Dx, Accuracy, ::testing::ValuesIn(fp32_dx()), group_name);

}  // namespace
}  // namespace mhcjit::gpu
