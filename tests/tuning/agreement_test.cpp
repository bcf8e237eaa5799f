// Two sweeps of one table on one machine choose the same plans: docs/results/h200/tune-1.jsonl and tune-2.jsonl. The
// second lacks the last of the first's rows. A problem's three plans depend on all its rows, so that the first's are
// decided again from its trials of those rows alone.
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tuning/decide.h"
#include "tuning/record_file.h"

namespace mhcjit::tuning {
namespace {

using codegen::SizedProblem;

// Plans that are farther apart than 3 %, and by how much. At this row each process finds the times that it found before
// within 0.5 %, but the two processes differ by 4 % for one plan and by 2 % for the other: a row's tensors stay where
// they are.
const std::map<std::string, double> exceptions = {{"pre_forward n=4 D=4096 bf16 sm_90a T=1024", 1.037}};

std::vector<codegen::Trial> trials_of(int sweep) {
  return llvm::cantFail(read_record_file(fmt::format("{}/h200/tune-{}.jsonl", RESULTS_DIR, sweep)))->trials;
}

std::set<SizedProblem> rows_of(const std::vector<codegen::Trial>& trials) {
  std::set<SizedProblem> rows;
  for (const codegen::Trial& trial : trials) rows.insert({trial.problem, trial.tokens});
  return rows;
}

// A sweep of some rows: the plan of each, and the times of all plans.
struct Sweep {
  Sweep(std::vector<codegen::Trial> all, const std::set<SizedProblem>& rows) {
    std::erase_if(all, [&](const codegen::Trial& trial) { return !rows.contains({trial.problem, trial.tokens}); });
    for (const codegen::TunedChoice& choice : decide_all(all))
      for (const codegen::TunedRow& row : choice.rows) plans[{choice.problem, row.tokens}] = row.plan;
    std::map<std::pair<SizedProblem, std::string>, std::vector<codegen::Trial>> trials;
    for (const codegen::Trial& trial : all) trials[{{trial.problem, trial.tokens}, trial.plan}].push_back(trial);
    for (const auto& [plan, of_plan] : trials)
      if (const auto result = result_of(of_plan)) times[plan] = result->us;
  }

  std::map<SizedProblem, std::string> plans;
  std::map<std::pair<SizedProblem, std::string>, double> times;
};

TEST(Agreement, InNineteenOfTwentyRowsAndNeverFarApart) {
  const std::vector<codegen::Trial> second_trials = trials_of(2);
  const std::set<SizedProblem> rows = rows_of(second_trials);
  EXPECT_GE(rows.size(), 148u);
  const Sweep first(trials_of(1), rows), second(second_trials, rows);
  ASSERT_EQ(first.plans.size(), rows.size());
  ASSERT_EQ(second.plans.size(), rows.size());
  int alike = 0;
  for (const auto& [shape, plan] : first.plans) {
    const std::string& other = second.plans.at(shape);
    alike += plan == other ? 1 : 0;
    if (plan == other) continue;
    const auto exception = exceptions.find(to_string(shape));
    for (const Sweep* sweep : {&first, &second}) {
      const double ratio = sweep->times.at({shape, plan}) / sweep->times.at({shape, other});
      EXPECT_LE(std::max(ratio, 1 / ratio), exception == exceptions.end() ? 1.03 : exception->second)
          << to_string(shape) << ": " << plan << " and " << other;
    }
  }
  EXPECT_GE(alike, 0.95 * static_cast<double>(rows.size())) << "of " << rows.size();
}

}  // namespace
}  // namespace mhcjit::tuning
