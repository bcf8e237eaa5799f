// A record in Kernel Tuner's format.
#include "tuning/kernel_tuner.h"

#include <gtest/gtest.h>
#include <llvm/Support/FormatVariadic.h>

#include "codegen/operators.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using llvm::json::Object;

const codegen::Problem problem = {&codegen::pre_forward, 4, 4096, codegen::DType::bf16, true, false, {9, 0, 'a'}};

Object results_of(std::vector<codegen::Trial> trials) {
  codegen::TunedRecord record;
  record.header.device = "NVIDIA H200";
  record.header.architecture = {9, 0, 'a'};
  record.trials = std::move(trials);
  return kernel_tuner_results(record);
}

TEST(KernelTuner, APlanAtATIsOneResult) {
  const std::string plan = "one_pass cluster_size=16 tokens_per_tile=8";
  const Object all = results_of({{problem, 64, plan, Outcome::measured, 4000, 1},
                                 {problem, 128, plan, Outcome::measured, 9000, 1},
                                 {problem, 64, plan, Outcome::measured, 2000, 1},
                                 {problem, 64, plan, Outcome::measured, 3000, 1},
                                 {problem, 64, plan, Outcome::measured, 2500, 1}});
  EXPECT_EQ(all.getObject("metadata")->getString("device"), "NVIDIA H200");
  EXPECT_EQ(all.getObject("metadata")->getString("timeunit"), "milliseconds");
  ASSERT_EQ(all.getArray("results")->size(), 2u);
  EXPECT_EQ(
      llvm::formatv("{0}", all.getArray("results")->front()).str(),
      R"({"configuration":{"batch_invariant":false,"cluster_size":16,"d":4096,"dtype":"bf16","family":"one_pass",)"
      R"("fp32_dx":false,"gamma":true,"n":4,"op":"pre_forward","t":64,"tokens_per_tile":8},"correctness":1,)"
      R"("invalidity":"correct","measurements":[{"name":"time","unit":"ms","value":2.5},)"
      R"({"name":"spread","unit":"ms","value":0.5}],"objectives":["time"],"times":{"runtimes":[4,2,3,2.5]}})");
}

TEST(KernelTuner, EachOutcomeHasAWordOfItsSchema) {
  std::vector<codegen::Trial> trials = {{problem, 1, "a", Outcome::measured, 5}};
  for (const Outcome outcome :
       {Outcome::wrong, Outcome::compile_failed, Outcome::spills, Outcome::not_run, Outcome::faulted, Outcome::hung})
    trials.push_back({problem, static_cast<std::int64_t>(trials.size()) + 1, "a", outcome});
  // One that ran before it failed.
  trials.push_back({problem, 1, "a", Outcome::faulted});
  std::string words;
  const Object results = results_of(trials);
  for (const llvm::json::Value& value : *results.getArray("results")) {
    const Object& result = *value.getAsObject();
    words += result.getString("invalidity")->str() + " ";
    EXPECT_EQ(result.getInteger("correctness"), 0);
    EXPECT_TRUE(result.getArray("measurements")->empty());
  }
  EXPECT_EQ(words, "runtime correctness compile constraints constraints runtime timeout ");
}

}  // namespace
}  // namespace mhcjit::tuning
