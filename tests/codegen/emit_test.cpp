// The emitted units, compared exactly: a change of one character is a change of every cache key.
#include "codegen/emit.h"

#include <fstream>
#include <sstream>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/heuristic.h"

namespace mhcjit::codegen {
namespace {

std::string golden(const std::string& name) {
  std::ifstream file(std::string(GOLDEN_DIR) + "/" + name + ".cu");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string emitted(const Problem& problem, std::optional<KernelTemplate> wanted = std::nullopt) {
  return fmt::format("{}", fmt::join(emit_units(llvm::cantFail(choose_spec(problem, wanted))), "\n"));
}

TEST(Emit, MatchesGoldenText) {
  const Architecture hopper = {9, 0, 'a'};
  EXPECT_EQ(emitted({Op::pre_backward, 3, 127, DType::fp32, false, false, hopper}),
            golden("pre_backward_n3_d127_fp32"));
  EXPECT_EQ(emitted({Op::pre_backward, 8, 2048, DType::fp16, true, false, hopper}),
            golden("pre_backward_n8_d2048_fp16_gamma"));
  const Problem problem = {Op::pre_forward, 4, 4096, DType::bf16, true, false, hopper};
  EXPECT_EQ(emitted(problem), golden("pre_forward_n4_d4096_bf16_gamma"));
  for (const KernelTemplate each : {KernelTemplate::portable, KernelTemplate::two_pass, KernelTemplate::one_pass})
    EXPECT_EQ(emitted(problem, each), golden(fmt::format("pre_forward_n4_d4096_bf16_gamma_{}", to_string(each))));
}

TEST(Emit, EveryPartOfTheProblemChangesTheText) {
  const Problem base = {Op::pre_forward, 4, 256, DType::bf16, false, false, {9, 0, 'a'}};
  std::vector<Problem> others(6, base);
  others[0].op = Op::pre_backward;
  others[1].n = 3;
  others[2].d = 128;
  others[3].dtype = DType::fp16;
  others[4].has_gamma = true;
  others[5].architecture = {8, 0, 0};
  for (const Problem& other : others) EXPECT_NE(emitted(other), emitted(base)) << to_string(other);
}

}  // namespace
}  // namespace mhcjit::codegen
