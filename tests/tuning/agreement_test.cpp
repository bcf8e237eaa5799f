// Two sweeps of one table on one machine choose the same plans: docs/results/h200/tune-1.jsonl and tune-2.jsonl.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tuning/decide.h"
#include "tuning/record_file.h"

namespace mhcjit::tuning {
namespace {

using codegen::SizedProblem;

// A sweep: the plan of each row, and the times of all plans.
struct Sweep {
  explicit Sweep(int number) {
    const auto record = llvm::cantFail(read_record_file(fmt::format("{}/h200/tune-{}.jsonl", RESULTS_DIR, number)));
    for (const codegen::TunedChoice& choice : record->choices)
      for (const codegen::TunedRow& row : choice.rows) plans[{choice.problem, row.tokens}] = row.plan;
    std::map<std::pair<SizedProblem, std::string>, std::vector<codegen::Trial>> trials;
    for (const codegen::Trial& trial : record->trials)
      trials[{{trial.problem, trial.tokens}, trial.plan}].push_back(trial);
    for (const auto& [plan, of_plan] : trials)
      if (const auto result = result_of(of_plan)) times[plan] = result->us;
  }

  std::map<SizedProblem, std::string> plans;
  std::map<std::pair<SizedProblem, std::string>, double> times;
};

TEST(Agreement, InNineteenOfTwentyRowsAndNeverFarApart) {
  const Sweep first(1), second(2);
  int both = 0, alike = 0;
  for (const auto& [shape, plan] : first.plans) {
    const auto found = second.plans.find(shape);
    if (found == second.plans.end()) continue;
    const std::string& other = found->second;
    ++both;
    alike += plan == other ? 1 : 0;
    if (plan == other) continue;
    for (const Sweep* sweep : {&first, &second}) {
      const double ratio = sweep->times.at({shape, plan}) / sweep->times.at({shape, other});
      EXPECT_LE(std::max(ratio, 1 / ratio), 1.03) << to_string(shape) << ": " << plan << " and " << other;
    }
  }
  EXPECT_GE(both, 160);
  EXPECT_GE(alike, 0.95 * both) << "of " << both;
}

}  // namespace
}  // namespace mhcjit::tuning
