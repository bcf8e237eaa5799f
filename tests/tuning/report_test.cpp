// What a record says to readers.
#include "tuning/report.h"

#include <gtest/gtest.h>

#include "codegen/operators.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;

const codegen::Problem problem = {&codegen::pre_forward, 4, 4096, codegen::DType::bf16, false, false, {9, 0, 'a'}};

std::vector<codegen::Trial> trials() {
  std::vector<codegen::Trial> list;
  const auto add = [&](const char* plan, double us, Outcome outcome = Outcome::measured) {
    list.push_back({problem, 64, plan, outcome, us, 0.1, 20});
  };
  add("one_pass cluster_size=8 tokens_per_tile=8", 10);
  add("one_pass cluster_size=8 tokens_per_tile=16", 12);
  add("one_pass cluster_size=16 tokens_per_tile=8 gemm_warps=2", 11);
  add("one_pass cluster_size=16 tokens_per_tile=8 gemm_warps=4", 10.3);
  add("one_pass cluster_size=4 tokens_per_tile=8", 0, Outcome::hung);
  add("few_tokens chunks=1", 9);
  return list;
}

TEST(Report, TheTableHasAPlanWithItsGainOrADash) {
  codegen::TunedRecord record;
  record.header.device = "NVIDIA H200";
  record.header.architecture = {9, 0, 'a'};
  record.trials = trials();
  record.choices = {{problem,
                     {{codegen::max_tokens, "b"}},
                     {{1, "a", 5, 0.1, "a", 5, 0.1, 0}, {64, "b", 9, 0.1, "a", 10, 0.2, 0.1}}}};
  const std::string table = table_of(record);
  EXPECT_TRUE(table.starts_with("NVIDIA H200, sm_90a, ")) << table;
  EXPECT_NE(table.find("         1       5.00     0.10       5.00     0.10       -  a\n"), std::string::npos) << table;
  EXPECT_NE(table.find("        64       9.00     0.10      10.00     0.20  10.0 %  b\n"), std::string::npos) << table;
  EXPECT_NE(table.find("another plan at 1 of 2 numbers of tokens; 6 trials, 1 hung\n"), std::string::npos) << table;
}

TEST(Report, AHeatMapHasTheBestOfEachPairOfValues) {
  EXPECT_EQ(heat_map_of({problem, 64}, trials(), "cluster_size", "tokens_per_tile"),
            "pre_forward n=4 D=4096 bf16 sm_90a T=64: best 10.00 us; cluster_size across, tokens_per_tile down\n"
            "                 8       16\n"
            "        8  1.00     1.03 ░░\n"
            "       16  1.20 ▓▓        .\n");
  EXPECT_EQ(heat_map_of({problem, 64}, trials(), "cluster_size", "no_such_axis"), "");
}

TEST(Report, TheWidestAxesTookTheMostValues) {
  EXPECT_EQ(widest_axes(trials()), (std::pair<std::string, std::string>("cluster_size", "gemm_warps")));
  EXPECT_EQ(widest_axes({}), (std::pair<std::string, std::string>()));
}

}  // namespace
}  // namespace mhcjit::tuning
