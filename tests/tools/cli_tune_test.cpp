// `mhcjit tune` and what is done with its records, on a made-up device.
#include <gtest/gtest.h>

#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

class CliTune : public testing::Test {
 protected:
  // The choices of a report.
  static std::vector<llvm::json::Object> choices_of(const llvm::json::Object& report) {
    std::vector<llvm::json::Object> choices;
    const llvm::json::Array* list = report.getArray("choices");
    if (list == nullptr) ADD_FAILURE() << "there are no choices";
    for (std::size_t i = 0; list != nullptr && i < list->size(); ++i) choices.push_back(*(*list)[i].getAsObject());
    return choices;
  }

  Cli cli;
  const std::string some = "tune --n 4 --d 2560,4096 --t 1,64,8192 ";
};

TEST_F(CliTune, TriesBothOperatorsIntoARecord) {
  const CliResult result = cli(some);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("Fake GPU, sm_90a, driver of CUDA 13.0, NVRTC 13.0"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\npre_backward n=4 D=4096 bf16 sm_90a\n"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\n12 of 12 rows done, "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("whose estimate is beyond --margin 1.2 or --most 10; record tuned.jsonl\n"),
            std::string::npos)
      << result.out;
  EXPECT_TRUE(read_file(cli.file("tuned.jsonl")).starts_with(R"({"mhcjit_tune":1,)"));
}

TEST_F(CliTune, JsonHasTheChoices) {
  const llvm::json::Object report = json_of(cli(some + "--op pre_forward -o own.jsonl --json"));
  EXPECT_EQ(report.getString("record"), "own.jsonl");
  EXPECT_EQ(report.getInteger("rows"), 6);
  EXPECT_EQ(report.getInteger("rows_done"), 6);
  EXPECT_EQ(report.getInteger("trials"), report.getInteger("new_trials"));
  const std::vector<llvm::json::Object> choices = choices_of(report);
  ASSERT_EQ(choices.size(), 2u);
  for (const llvm::json::Object& choice : choices) {
    EXPECT_EQ(choice.getString("op"), "pre_forward");
    EXPECT_EQ(choice.getArray("rows")->size(), 3u);
    EXPECT_GE(choice.getArray("buckets")->size(), 1u);
  }
}

TEST_F(CliTune, GoesOnWithItsRecord) {
  const llvm::json::Object first = json_of(cli(some + "--json"));
  const llvm::json::Object second = json_of(cli(some + "--json"));
  EXPECT_EQ(second.getInteger("new_trials"), 0);
  EXPECT_EQ(second.getInteger("trials"), first.getInteger("trials"));
  EXPECT_EQ(*second.getArray("choices"), *first.getArray("choices"));
}

TEST_F(CliTune, AShapesFileNamesTheRows) {
  write_file(cli.file("shapes.json"), R"([{"n": 2, "d": 2560, "t": [1, 16], "dtype": "fp32", "ops": "pre_forward"},
                                          {"n": 4, "d": 1280, "t": 64, "dtype": "bf16", "batch_invariant": true}])");
  const llvm::json::Object report = json_of(cli("tune --shapes shapes.json --json"));
  EXPECT_EQ(report.getInteger("rows_done"), 4);
  EXPECT_EQ(choices_of(report).size(), 3u);
}

TEST_F(CliTune, InterruptedItKeepsWhatIsTriedAndEndsWith130) {
  cli.environment["FAKE_TRIAL_MS"] = "20";
  for (const std::string signal : {"INT", "TERM"}) {
    const CliResult result =
        cli.shell("timeout --foreground --preserve-status -s " + signal + " 1 mhcjit " + some + "--json");
    EXPECT_EQ(result.exit_code, 130) << result.err;
    const llvm::json::Object report = json_of(result);
    EXPECT_GT(report.getInteger("new_trials").value_or(0), 0) << signal;
    EXPECT_LT(report.getInteger("rows_done").value_or(99), 12) << signal;
    for (const char* part :
         {"interrupted: finishing the trial", "interrupted: what is tried stays, run again to go on"})
      EXPECT_NE(result.err.find(part), std::string::npos) << part << "\n" << result.err;
  }
  cli.environment.erase("FAKE_TRIAL_MS");
  EXPECT_EQ(json_of(cli(some + "--json")).getInteger("rows_done"), 12);
}

TEST_F(CliTune, ABudgetEndsItWithSuccess) {
  cli.environment["FAKE_TRIAL_MS"] = "20";
  const CliResult result = cli(some + "--budget 1s --json");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.err.find("out of time: what is tried stays, run again to go on"), std::string::npos) << result.err;
  const llvm::json::Object report = json_of(result);
  EXPECT_EQ(report.getBoolean("is_out_of_time"), true);
  EXPECT_EQ(choices_of(report).size(), 4u) << "the best so far of each problem";
}

TEST_F(CliTune, ShardsMergeToOneRecord) {
  const llvm::json::Object whole = json_of(cli(some + "--json"));
  for (const std::string i : {"0", "1", "2"}) EXPECT_EQ(cli(some + "--shard " + i + "/3 -o part-" + i).exit_code, 0);
  const CliResult merged = cli("tune merge all.jsonl part-0 part-1 part-2 --json");
  EXPECT_EQ(merged.exit_code, 0) << merged.err;
  const llvm::json::Object report = json_of(merged);
  EXPECT_EQ(report.getInteger("trials"), whole.getInteger("trials"));
  EXPECT_EQ(report.getArray("choices")->size(), whole.getArray("choices")->size());
  for (const llvm::json::Value& choice : *whole.getArray("choices"))
    EXPECT_TRUE(llvm::is_contained(*report.getArray("choices"), choice));
  EXPECT_EQ(json_of(cli(some + "-o all.jsonl --json")).getInteger("new_trials"), 0);
}

TEST_F(CliTune, DevicesShareTheWork) {
  EXPECT_EQ(json_of(cli(some + "--devices 0,1 --json")).getInteger("rows_done"), 12);
  const CliResult absent = cli(some + "--devices 0,7 -o other.jsonl --json");
  EXPECT_EQ(absent.exit_code, 3);
  EXPECT_EQ(error_code_of(absent), "MHCJIT_ERROR_NO_DEVICE");
}

TEST_F(CliTune, ReportPrintsATableAndMaps) {
  cli(some);
  const CliResult table = cli("tune report tuned.jsonl");
  EXPECT_EQ(table.exit_code, 0) << table.err;
  EXPECT_NE(table.out.find("another plan at "), std::string::npos) << table.out;
  EXPECT_EQ(table.out.find(" across, "), std::string::npos) << table.out;
  EXPECT_NE(cli("tune report tuned.jsonl --heat-map").out.find(" across, "), std::string::npos);
  const CliResult named = cli("tune report tuned.jsonl --axes tokens_per_tile,cluster_size");
  EXPECT_NE(named.out.find("tokens_per_tile across, cluster_size down\n"), std::string::npos) << named.out;
  EXPECT_EQ(choices_of(json_of(cli("tune report tuned.jsonl --json"))).size(), 4u);
}

TEST_F(CliTune, ExportPrintsKernelTunersResults) {
  const llvm::json::Object swept = json_of(cli(some + "--json"));
  const llvm::json::Object results = json_of(cli("tune export tuned.jsonl"));
  EXPECT_EQ(results.getString("schema_version"), "1.0.0");
  std::int64_t trials = 0;
  for (const llvm::json::Value& result : *results.getArray("results"))
    trials += static_cast<std::int64_t>(result.getAsObject()->getObject("times")->getArray("runtimes")->size());
  EXPECT_EQ(trials, swept.getInteger("trials"));
  EXPECT_EQ(json_of(cli("tune export tuned.jsonl --format kernel-tuner --json")), results);
}

TEST_F(CliTune, AForeignFileIsLeftAsItIs) {
  write_file(cli.file("tuned.jsonl"), "my notes\n");
  const CliResult result = cli(some);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.err.find("tuned.jsonl: line 1"), std::string::npos) << result.err;
  EXPECT_EQ(read_file(cli.file("tuned.jsonl")), "my notes\n");
  EXPECT_EQ(cli("tune report tuned.jsonl").exit_code, 1);
  EXPECT_EQ(cli("tune merge out.jsonl tuned.jsonl").exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(cli.file("out.jsonl")));
}

struct Wrong {
  const char* arguments;
  const char* text;
};

TEST_F(CliTune, WrongUsageIsExitCode2AndSaysWhatIsAllowed) {
  for (const auto& [arguments, text] : std::initializer_list<Wrong>{
           {"tune --n 4 --d 4096", "--t is missing"},
           {"tune --d 4096 --t 1", "--n is missing"},
           {"tune --n 4 --d 4096 --t 0", "--t is '0', allowed: an integer of 1 to 2147483647"},
           {"tune --shapes shapes.json --n 4", "--n is given with --shapes, allowed: one of the two"},
           {"tune --n 4 --d 4096 --t 1 --shard 3/3", "--shard is '3/3', allowed: I/N with I from 0 to N - 1"},
           {"tune --n 4 --d 4096 --t 1 --budget soon", "--budget is 'soon', allowed: a time such as 90s or 10m"},
           {"tune --n 4 --d 4096 --t 1 --margin 0.5", "--margin is '0.5', allowed: a finite number of at least 1"},
           {"tune --n 4 --d 4096 --t 1 --most 0", "--most is '0', allowed: an integer of 1 to"},
           {"tune --n 4 --d 4096 --t 1 --devices gpu", "--devices is 'gpu', allowed: an integer"},
           {"tune --n 4 --d 4096 --t 1 --op pre", "op is 'pre', allowed: pre_forward, pre_backward"},
           {"tune report", "0 records are given, allowed: 1"},
           {"tune report a --axes one", "--axes is 'one', allowed: two launch parameters"},
           {"tune export a --format csv", "--format is 'csv', allowed: kernel-tuner"},
           {"tune export", "0 records are given, allowed: 1"},
           {"tune merge out", "1 files are given, allowed: the one to make, then one or more"}}) {
    const CliResult result = cli(arguments);
    EXPECT_EQ(result.exit_code, 2) << arguments;
    EXPECT_NE(result.err.find(text), std::string::npos) << arguments << "\n" << result.err;
  }
  EXPECT_EQ(cli.folder().file_count(), 0) << "something was written";
}

TEST_F(CliTune, TheExamplesRun) {
  write_file(cli.file("shapes.json"), R"({"n": 2, "d": 128, "t": [1, 16, 64, 256], "dtype": "bf16"})");
  expect_examples_run(cli, "tune");
  for (const std::string i : {"0", "1"}) cli("tune --n 4 --d 128 --t 1,64 --shard " + i + "/2 -o part-" + i + ".jsonl");
  std::filesystem::remove(cli.file("tuned.jsonl"));
  expect_examples_run(cli, "tune merge");
  expect_examples_run(cli, "tune report");
  expect_examples_run(cli, "tune export");
}

}  // namespace
}  // namespace mhcjit::test
