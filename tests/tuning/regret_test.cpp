// What `choose` costs on the devices that were measured: the time of the plan that it gives by the estimate, over that
// of the fastest candidate that was found. The measurements are the records docs/results/DEVICE/*.jsonl, which `mhcjit
// tune` writes.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "codegen/choose.h"
#include "codegen/operator.h"
#include "tuning/decide.h"
#include "tuning/record_file.h"

namespace mhcjit::tuning {
namespace {

using codegen::SizedProblem;

// The times of the candidates that were right, by the name of their plan.
using Times = std::map<std::string, double>;

// The plan of a row takes at most so many times as long as the best found.
constexpr double most = 1.10;

// The rows that lose more, each with what it may lose, and why.
const std::map<std::string, double> exceptions = {
    // Few tokens need one of its three plans and T = 1024 another, so that the one for T = 8192 serves. It shares out
    // the columns of 32 tiles of tokens among 64 blocks.
    {"pre_forward n=8 D=2560 bf16 sm_90a T=4096", 1.13},
    // The same three plans.
    {"pre_forward n=8 D=2560 bf16 sm_90a T=256", 1.234},
    // Clusters of few tokens fill the device at 112, 208, 464 and 1056 tokens, so that each of these T has another best
    // plan. Three plans do not hold them all.
    {"pre_forward n=6 D=1024 bf16 sm_90a T=512", 1.31},
    // Blocks of 128 threads take as long as those of 256 by the estimate. Measured, three of them on a multiprocessor
    // take longer.
    {"pre_backward n=8 D=2560 bf16 sm_90a T=16", 1.27},
    // Groups of 15 blocks would be the best, and bring a sixth kernel. The time of portable, which serves, is estimated
    // too short.
    {"pre_backward n=4 D=1920 bf16 sm_90a T=1024", 1.36},
};

// What the choice may lose in the rows of some records of one device.
struct Bounds {
  std::vector<std::string> records;
  double mean;         // of all rows, geometric
  double many_tokens;  // T >= 8192, the largest
  int unmeasured = 0;  // rows whose chosen plan the measurements do not have
};

const std::map<std::string, Bounds> bounds = {
    {"candidates", {.records = {"h200/candidates"}, .mean = 1.013, .many_tokens = 1.055}},
    // Backward, D 5120: groups of 23 blocks with panels of 32 columns take 2 % longer than 20 with 64 by the estimate.
    {"table", {.records = {"h200/tune-1"}, .mean = 1.02, .many_tokens = 1.094}},
    {"table_again", {.records = {"h200/tune-2"}, .mean = 1.019, .many_tokens = 1.09}},
    // No constant is fitted to these rows.
    {"held_back", {.records = {"h200/held-back"}, .mean = 1.03, .many_tokens = 1.05, .unmeasured = 1}},
    // Planned as an H200, whose memory is faster: clusters that keep up with less win here.
    {"h100", {.records = {"h100/candidates"}, .mean = 1.025, .many_tokens = 1.085}},
};

std::map<SizedProblem, Times> read(const std::vector<std::string>& records) {
  std::map<SizedProblem, std::map<std::string, std::vector<codegen::Trial>>> trials;
  for (const std::string& name : records) {
    const auto record = llvm::cantFail(read_record_file(fmt::format("{}/{}.jsonl", RESULTS_DIR, name)));
    for (const codegen::Trial& trial : record->trials)
      trials[{trial.problem, trial.tokens}][trial.plan].push_back(trial);
  }
  std::map<SizedProblem, Times> measured;
  for (const auto& [shape, plans] : trials)
    for (const auto& [plan, of_plan] : plans)
      if (const auto result = result_of(of_plan)) measured[shape][plan] = result->us;
  return measured;
}

double allowed(const SizedProblem& shape, const Bounds& bound) {
  constexpr std::int64_t many_tokens = 8192;
  if (const auto found = exceptions.find(to_string(shape)); found != exceptions.end()) return found->second;
  return shape.tokens < many_tokens ? most : std::min(most, bound.many_tokens);
}

class Regret : public testing::TestWithParam<std::string> {};

TEST_P(Regret, StaysWithinItsBounds) {
  const Bounds& bound = bounds.at(GetParam());
  const std::map<SizedProblem, Times> measured = read(bound.records);
  ASSERT_GE(measured.size(), 20u);

  std::string table;
  double logarithms = 0.0;
  int judged = 0;
  int beyond = 0;
  for (const auto& [shape, times] : measured) {
    const auto buckets = llvm::cantFail(codegen::choose(shape.problem));
    const std::string chosen = codegen::to_string(*codegen::bucket_of(buckets, shape.tokens).plan);
    const auto best = std::ranges::min_element(times, {}, [](const auto& one) { return one.second; });
    const auto found = times.find(chosen);
    if (found == times.end()) {
      table += fmt::format("{}: not measured: {}\n", to_string(shape), chosen);
      continue;
    }
    const double ratio = found->second / best->second;
    ++judged;
    logarithms += std::log(ratio);
    const bool is_beyond = ratio > allowed(shape, bound);
    beyond += is_beyond ? 1 : 0;
    table += fmt::format("{}: {:.4f}, allowed {:.4f}{}: {:.2f} us {}; best {:.2f} us {}\n", to_string(shape), ratio,
                         allowed(shape, bound), is_beyond ? " BEYOND" : "", found->second, chosen, best->second,
                         best->first);
  }
  EXPECT_EQ(beyond, 0) << table;
  EXPECT_LE(std::exp(logarithms / judged), bound.mean) << table;
  EXPECT_LE(static_cast<int>(measured.size()) - judged, bound.unmeasured) << table;
}

std::vector<std::string> names() {
  std::vector<std::string> list;
  for (const auto& [name, bound] : bounds) list.push_back(name);
  return list;
}

INSTANTIATE_TEST_SUITE_P(Records, Regret, testing::ValuesIn(names()), [](const auto& info) { return info.param; });

TEST(RegretRecords, EachWithTrialsHasBounds) {
  std::set<std::string> judged;
  for (const auto& [name, bound] : bounds) judged.insert(bound.records.begin(), bound.records.end());
  std::set<std::string> found;
  for (const auto& file : std::filesystem::recursive_directory_iterator(RESULTS_DIR)) {
    if (file.path().extension() != ".jsonl") continue;
    const std::string name = file.path().parent_path().filename() / file.path().stem();
    if (!read({name}).empty()) found.insert(name);
  }
  EXPECT_EQ(found, judged);
}

// A row that a constant was fitted to says nothing about others.
TEST(RegretRecords, HeldBackRowsAreOfProblemsInNoOtherRecord) {
  std::set<codegen::Problem> fitted;
  for (const auto& [name, bound] : bounds)
    if (name != "held_back")
      for (const auto& [shape, times] : read(bound.records)) fitted.insert(shape.problem);
  for (const auto& [shape, times] : read(bounds.at("held_back").records))
    EXPECT_FALSE(fitted.contains(shape.problem)) << to_string(shape);
}

// Each of them loses too much in some record, but no more than it may.
TEST(RegretRecords, ExceptionsAreNeeded) {
  std::set<std::string> needed;
  for (const auto& [name, bound] : bounds)
    for (const auto& [shape, times] : read(bound.records)) {
      const auto buckets = llvm::cantFail(codegen::choose(shape.problem));
      const auto found = times.find(codegen::to_string(*codegen::bucket_of(buckets, shape.tokens).plan));
      const auto best = std::ranges::min_element(times, {}, [](const auto& one) { return one.second; });
      if (found != times.end() && found->second > most * best->second) needed.insert(to_string(shape));
    }
  for (const auto& [row, loss] : exceptions) EXPECT_TRUE(needed.contains(row)) << row;
}

}  // namespace
}  // namespace mhcjit::tuning
