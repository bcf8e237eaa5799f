// Whole sweeps on a made-up device: records, resuming, shards, devices, time.
#include "tuning/sweep.h"

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <gtest/gtest.h>

#include "codegen/operators.h"
#include "tests/tools/temporary_folder.h"
#include "tests/tuning/fake_kit.h"
#include "tuning/decide.h"
#include "tuning/merge.h"

namespace mhcjit::test {
namespace {

using codegen::Outcome;
using codegen::TunedRecord;
using tuning::Request;
using tuning::Summary;
using namespace std::chrono_literals;

class SweepTest : public testing::Test {
 protected:
  SweepTest() {
    for (const codegen::Operator* op : codegen::operators())
      for (const std::int64_t tokens : {1, 64, 1024, 8192})
        request.shapes.push_back({{op, 4, 2560, codegen::DType::bf16, false, false, {}}, tokens});
    request.record = file;
    request.compile_threads = 2;
    request.limits = {.row = 10s, .plan = 500ms};
  }

  llvm::Expected<Summary> run() {
    return tuning::sweep(request, fake_kit(device), stop, [&](const tuning::Progress& progress) {
      last = progress;
      if (++reports == stop_after) stop = true;
    });
  }
  Summary sweep() { return llvm::cantFail(run()); }
  Failure failed_sweep() {
    auto result = run();
    return result ? Failure() : take_failure(result.takeError());
  }

  TunedRecord record() const { return llvm::cantFail(codegen::parse_record("record", read_file(file))); }
  // The candidates of a row.
  std::vector<std::string> plans_of(std::size_t shape) const {
    codegen::SizedProblem one = request.shapes[shape];
    one.problem.architecture = {9, 0, 'a'};
    const auto rows = llvm::cantFail(tuning::rows_of({&one, 1}, request.pruning));
    std::vector<std::string> names;
    for (const codegen::PlanPtr& plan : rows.front().candidates) names.push_back(codegen::to_string(*plan));
    return names;
  }

  TemporaryFolder folder;
  const std::string file = folder / "tuned.jsonl";
  Request request;
  FakeDevice device;
  std::atomic<bool> stop = false;
  int stop_after = -1;
  int reports = 0;
  tuning::Progress last;
};

TEST_F(SweepTest, TriesEachRowAndDecides) {
  const Summary summary = sweep();
  EXPECT_EQ(summary.rows, 8u);
  EXPECT_EQ(summary.rows_done, 8u);
  EXPECT_TRUE(summary.failures.empty());
  EXPECT_FALSE(summary.is_out_of_time);
  EXPECT_GT(summary.pruned, 100u);
  EXPECT_EQ(summary.new_trials, static_cast<std::size_t>(reports));
  ASSERT_EQ(summary.choices.size(), 2u);
  bool has_gain = false;
  for (const codegen::TunedChoice& choice : summary.choices) {
    ASSERT_EQ(choice.rows.size(), 4u);
    for (const codegen::TunedRow& row : choice.rows) has_gain |= row.gain > 0.02;
  }
  EXPECT_TRUE(has_gain) << "the times differ from the estimate by up to 30 %";
  const TunedRecord written = record();
  EXPECT_EQ(written.choices, summary.choices);
  EXPECT_EQ(written.trials.size(), summary.trials);
  EXPECT_EQ(written.header.device, "Fake GPU");
  EXPECT_EQ(written.header.nvrtc, "13.0");
  EXPECT_EQ(written.header.space, tuning::space_digest({9, 0, 'a'}));
  for (const codegen::Trial& trial : written.trials) {
    EXPECT_EQ(trial.outcome, Outcome::measured);
    EXPECT_GT(trial.floor_ratio, 0);
    EXPECT_EQ(trial.sm_mhz, 1980);
  }
}

TEST_F(SweepTest, AgainItTriesNothing) {
  const Summary first = sweep();
  const std::string before = read_file(file);
  const Summary second = sweep();
  EXPECT_EQ(second.new_trials, 0u);
  EXPECT_EQ(second.rows_done, 8u);
  EXPECT_EQ(second.choices, first.choices);
  EXPECT_EQ(read_file(file), before);
}

TEST_F(SweepTest, WhatPlansDoToTheirProcessIsDataWithItsReason) {
  const std::vector<std::string> plans = plans_of(2);
  ASSERT_GE(plans.size(), 8u);
  device.plans = {{plans[0], Behaviour::crashes},    {plans[1], Behaviour::wrong},
                  {plans[2], Behaviour::spills},     {plans[3], Behaviour::does_not_compile},
                  {plans[4], Behaviour::cannot_run}, {plans[5], Behaviour::hangs},
                  {plans[6], Behaviour::faults}};
  request.shapes = {request.shapes[2]};
  const Summary summary = sweep();
  EXPECT_TRUE(summary.is_done());
  EXPECT_TRUE(summary.failures.empty());
  std::map<Outcome, int> outcomes;
  for (const codegen::Trial& trial : record().trials) {
    ++outcomes[trial.outcome];
    EXPECT_EQ(trial.reason.empty(), trial.outcome == Outcome::measured) << trial.plan;
  }
  for (const Outcome outcome :
       {Outcome::wrong, Outcome::compile_failed, Outcome::spills, Outcome::hung, Outcome::not_run})
    EXPECT_EQ(outcomes[outcome], 1) << codegen::to_string(outcome);
  EXPECT_EQ(outcomes[Outcome::faulted], 2);
  ASSERT_EQ(summary.choices.size(), 1u);
  EXPECT_TRUE(std::ranges::find(plans, summary.choices[0].rows[0].plan) - plans.begin() > 6);
  EXPECT_EQ(sweep().new_trials, 0u) << "what failed is tried once";
}

TEST_F(SweepTest, ARowWithoutInputsIsAFailureAndIsTriedTheNextTime) {
  device.tokens_without_inputs = 1024;
  const Summary summary = sweep();
  EXPECT_EQ(summary.rows_done, 6u);
  ASSERT_EQ(summary.failures.size(), 2u);
  EXPECT_EQ(summary.failures[0], "pre_forward n=4 D=2560 bf16 sm_90a T=1024: no room for the inputs");
  EXPECT_EQ(summary.choices.size(), 2u) << "the other numbers of tokens decide";
  device.tokens_without_inputs = 0;
  EXPECT_TRUE(sweep().is_done());
}

// Two problems, so that rows, choices and more trials are cut.
TEST_F(SweepTest, GoesOnAfterAKillAtAnyByte) {
  request.shapes = {request.shapes[0], request.shapes[2], request.shapes[6]};
  request.halving.rounds = 2;
  request.pruning.most = 4;
  const Summary whole = sweep();
  const std::string bytes = read_file(file);
  const std::size_t header = bytes.find('\n') + 1;
  // Each process that a sweep forks costs a millisecond: every byte of a few lines, and a stride over the others.
  for (std::size_t size = header; size < bytes.size(); size += size < header + 300 ? 1 : 97) {
    write_file(file, bytes.substr(0, size));
    const std::size_t lines = static_cast<std::size_t>(std::ranges::count(bytes.substr(header, size - header), '\n'));
    const Summary summary = sweep();
    ASSERT_TRUE(summary.is_done()) << size;
    ASSERT_EQ(summary.choices, whole.choices) << size;
    ASSERT_EQ(record().choices, whole.choices) << size;
    ASSERT_GE(summary.trials + 2, lines) << size;
    ASSERT_EQ(summary.trials, whole.trials) << size << ": a trial is lost or made twice";
  }
}

TEST_F(SweepTest, AFileThatIsNoRecordOfThisSweepIsLeftAsItIs) {
  std::vector<std::string> foreign = {"hello", "hello\n", "{}\n", "{\"mhcjit_tune\":2}\n"};
  sweep();
  const std::string own = read_file(file);
  foreign.push_back(own.substr(0, 20));  // a header is there whole or not at all
  for (const auto& [from, to] : std::initializer_list<std::pair<std::string, std::string>>{
           {"Fake GPU", "Other GPU"},
           {"\"driver\":\"13.0\"", "\"driver\":\"12.8\""},
           {"\"nvrtc\":\"13.0\"", "\"nvrtc\":\"12.9\""},
           {"\"space\":\"", "\"space\":\"00"},
           {"\"version\":\"", "\"version\":\"9."},
           {"\"multiprocessors\":132", "\"multiprocessors\":66"}}) {
    std::string other = own;
    other.replace(other.find(from), from.size(), to);
    foreign.push_back(other);
  }
  for (const std::string& bytes : foreign) {
    write_file(file, bytes);
    const Failure failure = failed_sweep();
    EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE) << bytes.substr(0, 200);
    EXPECT_EQ(read_file(file), bytes);
  }
  EXPECT_NE(failed_sweep().text.find("its number of multiprocessors is '66', not '132'"), std::string::npos);
}

TEST_F(SweepTest, AnEmptyFileIsBegun) {
  write_file(file, "");
  EXPECT_TRUE(sweep().is_done());
}

TEST_F(SweepTest, TwoProcessesDoNotAppendToOneRecord) {
  auto held = tuning::sweep(request, fake_kit(device), stop, [&](const tuning::Progress&) {
    if (reports++ > 0) return;
    const pid_t child = ::fork();
    if (child == 0) {
      Request other = request;
      auto second = tuning::sweep(other, fake_kit(device), stop, [](const tuning::Progress&) {});
      ::_exit(second ? 0 : take_failure(second.takeError()).status == MHCJIT_ERROR_BAD_FILE ? 7 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 7);
  });
  EXPECT_TRUE(static_cast<bool>(held));
}

TEST_F(SweepTest, ShardsMergeToWhatOneRunChooses) {
  const Summary whole = sweep();
  std::vector<std::string> parts;
  std::size_t trials = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    request.shard = {i, 3};
    request.record = folder / ("part" + std::to_string(i) + ".jsonl");
    const Summary part = sweep();
    EXPECT_EQ(part.rows, i < 2 ? 3u : 2u);
    trials += part.trials;
    parts.push_back(request.record);
  }
  EXPECT_EQ(trials, whole.trials);
  const std::string merged = folder / "merged.jsonl";
  const TunedRecord made = llvm::cantFail(tuning::merge_records(merged, parts));
  const TunedRecord read = llvm::cantFail(codegen::parse_record(merged, read_file(merged)));
  for (const TunedRecord* one : {&made, &read}) {
    EXPECT_EQ(one->trials.size(), trials);
    EXPECT_TRUE(std::ranges::is_permutation(one->choices, whole.choices));
  }
  // A merged record is one to go on with.
  request.shard = {};
  request.record = merged;
  EXPECT_EQ(sweep().new_trials, 0u);
}

TEST_F(SweepTest, MergingTakesARowOnceAndLeavesWhatIsThere) {
  const Summary whole = sweep();
  const std::vector<std::string> twice = {file, file};
  const std::string merged = folder / "merged.jsonl";
  EXPECT_EQ(llvm::cantFail(tuning::merge_records(merged, twice)).trials.size(), whole.trials);
  const std::string before = read_file(merged);
  EXPECT_EQ(take_failure(tuning::merge_records(merged, twice).takeError()).status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_EQ(read_file(merged), before);
}

TEST_F(SweepTest, RecordsOfDifferentDevicesAreNotMerged) {
  sweep();
  device.name = "Other GPU";
  request.record = folder / "other.jsonl";
  sweep();
  const std::vector<std::string> both = {file, request.record};
  const Failure failure = take_failure(tuning::merge_records(folder / "merged.jsonl", both).takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_NE(failure.text.find("the device is 'Other GPU', not 'Fake GPU'"), std::string::npos) << failure.text;
  EXPECT_FALSE(std::filesystem::exists(folder / "merged.jsonl"));
}

TEST_F(SweepTest, DevicesShareTheRowsAndChooseTheSame) {
  const Summary one = sweep();
  request.devices = {0, 1};
  request.record = folder / "two.jsonl";
  device.milliseconds = 1;
  const Summary two = sweep();
  EXPECT_TRUE(two.is_done());
  EXPECT_EQ(two.trials, one.trials);
  EXPECT_TRUE(std::ranges::is_permutation(two.choices, one.choices));
}

TEST_F(SweepTest, ADeviceThatIsNotThereIsRefused) {
  request.devices = {0, 5};
  const Failure failure = failed_sweep();
  EXPECT_EQ(failure.status, MHCJIT_ERROR_NO_DEVICE);
  EXPECT_EQ(failure.text, "device 5: there are 2 fake devices");
  EXPECT_EQ(folder.file_count(), 0);
}

TEST_F(SweepTest, StoppedItKeepsWhatIsTriedAndChoosesTheBestSoFar) {
  stop_after = 20;
  const Summary summary = sweep();
  EXPECT_EQ(summary.new_trials, 20u);
  EXPECT_FALSE(summary.is_done());
  EXPECT_FALSE(summary.is_out_of_time);
  EXPECT_EQ(summary.choices.size(), 1u);
  EXPECT_EQ(record().trials.size(), 20u);
  stop = false;
  stop_after = -1;
  const Summary rest = sweep();
  EXPECT_TRUE(rest.is_done());
  EXPECT_EQ(rest.trials, rest.new_trials + 20);
}

TEST_F(SweepTest, ABudgetIsSharedAmongTheRows) {
  device.milliseconds = 4;
  request.budget = 400ms;
  const auto start = std::chrono::steady_clock::now();
  const Summary summary = sweep();
  EXPECT_LT(std::chrono::steady_clock::now() - start, 3s);
  EXPECT_FALSE(summary.is_done());
  EXPECT_TRUE(summary.is_out_of_time);
  std::set<codegen::SizedProblem> tried;
  for (const codegen::Trial& trial : record().trials) tried.insert({trial.problem, trial.tokens});
  EXPECT_EQ(tried.size(), 8u) << "the last row had no time left";
  request.budget.reset();
  EXPECT_TRUE(sweep().is_done());
}

TEST_F(SweepTest, AKillLosesTheTrialThatIsUnderWay) {
  device.milliseconds = 3;
  const pid_t child = ::fork();
  if (child == 0) {
    static_cast<void>(run());
    ::_exit(0);
  }
  std::this_thread::sleep_for(300ms);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it ended before it was killed";
  const std::size_t kept = record().trials.size();
  EXPECT_GT(kept, 0u);
  device.milliseconds = 0;
  const Summary summary = sweep();
  EXPECT_TRUE(summary.is_done());
  EXPECT_EQ(summary.trials, kept + summary.new_trials);
  // As one that was not killed.
  request.record = folder / "whole.jsonl";
  const Summary whole = sweep();
  EXPECT_EQ(whole.trials, summary.trials);
  EXPECT_EQ(whole.choices, summary.choices);
}

TEST_F(SweepTest, WithNoiseTwoSweepsChooseTheSame) {
  device.noise = 0.004;
  const Summary first = sweep();
  request.record = folder / "again.jsonl";
  std::ranges::reverse(request.shapes);
  const Summary second = sweep();
  EXPECT_EQ(first.choices.size(), second.choices.size());
  for (const codegen::TunedChoice& one : first.choices)
    for (const codegen::TunedChoice& other : second.choices)
      if (one.problem == other.problem)
        for (std::size_t i = 0; i < one.rows.size(); ++i) {
          EXPECT_EQ(one.rows[i].plan, other.rows[i].plan) << to_string(one.problem) << one.rows[i].tokens;
        }
}

TEST_F(SweepTest, ProgressTellsTheBestOfTheRow) {
  sweep();
  ASSERT_NE(last.trial, nullptr);
  EXPECT_EQ(last.rows, 8u);
  EXPECT_EQ(last.rows_done, 7u);
  EXPECT_GT(last.best_us, 0);
  EXPECT_GT(last.best_us, last.floor_us * 0.5);
}

}  // namespace
}  // namespace mhcjit::test
