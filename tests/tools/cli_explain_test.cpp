// explain: which plan serves, where it comes from, what else there is, and a digest by which ranks can be compared; and
// warmup with a tuned record, as far as usage goes.
#include <gtest/gtest.h>

#include "codegen/operators.h"
#include "tests/codegen/tuned_records.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

using codegen::max_tokens;

const codegen::Problem forward = {&codegen::pre_forward, 4, 4096, codegen::DType::bf16, false, false, {9, 0, 'a'}};
constexpr char ask[] = "explain --op pre_forward --n 4 --d 4096 --arch sm_90a";

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class CliExplain : public testing::Test {
 protected:
  void write_record(const std::vector<codegen::TunedBucket>& buckets) {
    write_file(cli.file("tuned.jsonl"), text_of(*codegen::record_of({{forward, buckets, {}}})));
  }

  // The only problem of what explain --json says.
  llvm::json::Object problem_of(const std::string& arguments) {
    llvm::json::Object report = json_of(cli(arguments + " --json"));
    const llvm::json::Array* problems = report.getArray("problems");
    if (problems != nullptr && problems->size() == 1) return *problems->front().getAsObject();
    ADD_FAILURE() << "not one problem";
    return {};
  }

  Cli cli;
  const std::vector<codegen::Bucket> estimate = llvm::cantFail(codegen::choose(forward));
  const std::string few = to_string(*estimate.front().plan), many = to_string(*estimate.back().plan);
};

TEST_F(CliExplain, SaysTheRecordsPlansAndWhatElseThereIs) {
  write_record({{9, many}, {max_tokens, few}});
  const llvm::json::Object problem = problem_of(std::string(ask) + " --t 9,10 --tuned tuned.jsonl");
  EXPECT_EQ(problem.getString("problem"), "pre_forward n=4 D=4096 bf16 sm_90a");
  EXPECT_EQ(problem.getString("source"), "record");
  EXPECT_EQ(problem.getString("grade"), "exact");
  EXPECT_EQ(problem.getInteger("row_d"), 4096);
  EXPECT_EQ(problem.getString("measured_on"), "Made-up GPU");
  EXPECT_EQ(problem.getString("refused"), "");
  ASSERT_EQ(problem.getArray("buckets")->size(), 2u);
  EXPECT_EQ(problem.getArray("buckets")->front().getAsObject()->getInteger("max_t"), 9);
  EXPECT_EQ(problem.getArray("buckets")->front().getAsObject()->getString("plan"), many);
  ASSERT_EQ(problem.getArray("tokens")->size(), 2u);
  const codegen::Device& device = codegen::device_of(forward.architecture);
  for (const auto& [index, T, plan] : {std::tuple{0, 9, many}, {1, 10, few}}) {
    const llvm::json::Object& at = *(*problem.getArray("tokens"))[index].getAsObject();
    EXPECT_EQ(at.getInteger("t"), T);
    EXPECT_EQ(at.getString("plan"), plan);
    double last = 0;
    EXPECT_EQ(at.getArray("runners_up")->size(), 5u);
    for (const llvm::json::Value& value : *at.getArray("runners_up")) {
      const llvm::json::Object& runner_up = *value.getAsObject();
      EXPECT_NE(runner_up.getString("plan"), plan);
      EXPECT_GE(runner_up.getNumber("estimated_us"), last);
      last = *runner_up.getNumber("estimated_us");
    }
    const codegen::PlanPtr best = codegen::bucket_of(estimate, T).plan;
    if (to_string(*best) == plan) continue;
    EXPECT_LE((*at.getArray("runners_up"))[0].getAsObject()->getNumber("estimated_us"), best->cost_us(T, device));
  }
  std::size_t rejected = 0;
  for (const codegen::NamedCandidate& one : codegen::candidates(forward, device))
    rejected += one.candidate.legal() ? 0 : 1;
  EXPECT_EQ(problem.getArray("rejected")->size(), rejected);
  EXPECT_NE(problem.getArray("rejected")->front().getAsObject()->getString("reason"), "");

  const CliResult text = cli(std::string(ask) + " --t 9 --tuned tuned.jsonl");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_TRUE(has(text.out, "chosen by a row of the tuned record, measured on Made-up GPU\n")) << text.out;
  EXPECT_TRUE(has(text.out, "T up to 9           " + many)) << text.out;
}

// By it a job can compare its ranks, whatever has given them their records.
TEST_F(CliExplain, SaysThatTheRowHasNoGamma) {
  write_record({{max_tokens, few}});
  const std::string with_gamma = std::string(ask) + " --gamma --tuned tuned.jsonl";
  const llvm::json::Object problem = problem_of(with_gamma);
  EXPECT_EQ(problem.getString("source"), "record");
  EXPECT_EQ(problem.getString("grade"), "other_gamma");
  EXPECT_EQ(problem.getInteger("row_d"), 4096);
  const CliResult text = cli(with_gamma);
  EXPECT_TRUE(has(text.out, "chosen by a row of the tuned record, measured on Made-up GPU, without gamma\n"))
      << text.out;
}

TEST_F(CliExplain, TheDigestIsTheSameWhereThePlansAre) {
  const auto digest = [&](const std::string& arguments) {
    return json_of(cli(std::string(ask) + " --json" + arguments)).getString("digest").value_or("").str();
  };
  const std::string without = digest("");
  EXPECT_EQ(without.size(), 64u);
  std::vector<codegen::TunedBucket> same;
  for (const codegen::Bucket& bucket : estimate) same.push_back({bucket.max_tokens, to_string(*bucket.plan)});
  write_record(same);
  const std::string of_estimate = digest(" --tuned tuned.jsonl");
  EXPECT_EQ(digest(" --tuned tuned.jsonl"), of_estimate);
  write_record({{max_tokens, few}});
  EXPECT_NE(digest(" --tuned tuned.jsonl"), of_estimate);
  cli.environment["MHCJIT_TUNED"] = cli.file("tuned.jsonl");
  EXPECT_EQ(digest(""), digest(" --tuned tuned.jsonl"));
}

TEST_F(CliExplain, SaysWhyARowIsRefused) {
  write_record({{max_tokens, "gone"}});
  const CliResult text = cli(std::string(ask) + " --tuned tuned.jsonl");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_TRUE(has(text.out, "refused: record row: plan 'gone': the families list no such plan\n")) << text.out;
}

TEST_F(CliExplain, ServesEveryOperatorWhereNoneIsNamed) {
  const llvm::json::Object report = json_of(cli("explain --n 4 --d 64,128 --arch sm_80 --json"));
  EXPECT_EQ(report.getArray("problems")->size(), 2 * codegen::operators().size());
}

TEST_F(CliExplain, WrongUsageSaysWhatIsAllowed) {
  const auto expect = [&](const std::string& arguments, int exit_code, const std::string& part) {
    const CliResult result = cli(arguments);
    EXPECT_EQ(result.exit_code, exit_code) << arguments;
    EXPECT_TRUE(has(result.err, part)) << result.err;
  };
  expect("explain --d 4096 --arch sm_90a", 2, "--n is missing");
  expect(std::string(ask) + " --t 0", 2, "--t is '0', allowed: an integer of 1 to 2147483647");
  expect(std::string(ask) + " --tuned tuned.jsonl", 1, "tuned.jsonl cannot be read");
  expect("warmup --tuned tuned.jsonl", 1, "tuned.jsonl cannot be read");
  write_file(cli.file("tuned.jsonl"), to_line(codegen::made_up_header()));
  expect("warmup --tuned tuned.jsonl", 1, "tuned.jsonl chooses plans for no problem");
  write_record({{max_tokens, few}});
  expect("warmup --tuned tuned.jsonl --arch sm_80", 2,
         "--arch is 'sm_80', allowed: sm_90a, for which tuned.jsonl was made");
  write_file(cli.file("tuned.jsonl"), "[]\n");
  expect(std::string(ask) + " --tuned tuned.jsonl", 1, "line 1, which is to be the header of a tuned record");
}

}  // namespace
}  // namespace mhcjit::test
