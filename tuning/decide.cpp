#include "tuning/decide.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "bench/statistics.h"
#include "codegen/choose.h"
#include "support/error.h"
#include "tuning/plan_search.h"

namespace mhcjit::tuning {
namespace {

using codegen::Bucket;
using codegen::PlanPtr;
using codegen::Problem;
using codegen::Trial;
using codegen::TunedChoice;

using Trials = std::vector<Trial>;

std::vector<Measured> measured_in(std::span<const Trial> trials, const std::vector<Bucket>& present,
                                  const std::map<std::string, PlanPtr>& legal) {
  std::map<std::int64_t, std::map<std::string, Trials>> by_tokens;
  for (const Trial& trial : trials)
    if (legal.contains(trial.plan)) by_tokens[trial.tokens][trial.plan].push_back(trial);
  std::vector<Measured> rows;
  for (const auto& [tokens, plans] : by_tokens) {
    Measured row = {tokens, {}, codegen::to_string(*codegen::bucket_of(present, tokens).plan)};
    for (const auto& [plan, of_plan] : plans)
      if (const auto result = result_of(of_plan)) row.results[plan] = *result;
    if (!row.results.empty()) rows.push_back(std::move(row));
  }
  return rows;
}

// The last T of the plan of one row before that of the next takes over.
std::int64_t boundary(const Measured& row, const std::string& plan, const Measured& next, const std::string& next_plan,
                      const std::vector<Bucket>& present) {
  const std::int64_t now = codegen::bucket_of(present, row.tokens).max_tokens;
  if (plan == row.present && next_plan == next.present && now < next.tokens) return now;
  // The ratio of their times is 1 here, if its logarithm is linear in that of T.
  double fraction = 0.5;
  const auto lead = [&](const Measured& at) -> std::optional<double> {
    const Result *one = at.of(plan), *other = at.of(next_plan);
    if (one == nullptr || other == nullptr) return std::nullopt;
    return std::log(other->us / one->us);
  };
  const std::optional<double> first = lead(row), last = lead(next);
  if (first && last && *first >= 0 && *last < 0) fraction = *first / (*first - *last);
  const double tokens =
      std::pow(static_cast<double>(row.tokens), 1 - fraction) * std::pow(static_cast<double>(next.tokens), fraction);
  return std::clamp<std::int64_t>(std::llround(tokens), row.tokens, next.tokens - 1);
}

codegen::TunedRow row_of(const Measured& row, const std::string& plan) {
  const Result& result = *row.of(plan);
  codegen::TunedRow tuned = {row.tokens, plan, rounded(result.us), rounded(result.spread_us), row.present};
  if (const Result* present = row.of(row.present)) {
    tuned.present_us = rounded(present->us);
    tuned.present_spread_us = rounded(present->spread_us);
    tuned.gain = rounded(1.0 - result.us / present->us);
  }
  return tuned;
}

}  // namespace

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

std::optional<Result> result_of(std::span<const Trial> trials) {
  std::vector<double> times;
  for (const Trial& trial : trials) {
    if (trial.outcome != codegen::Outcome::measured) return std::nullopt;
    times.push_back(trial.us);
  }
  if (times.size() == 1) return Result{trials.front().us, trials.front().spread_us, 1};
  // The first trial is dropped: its plan has just been loaded.
  times.erase(times.begin());
  const auto [fastest, slowest] = std::ranges::minmax(times);
  return Result{bench::quantile(times, 0.5), (slowest - fastest) / 2, static_cast<int>(trials.size())};
}

bool beats(const Result& one, const Result& other) {
  return one.us < other.us - std::max(one.spread_us + other.spread_us, least_gain * other.us);
}

std::optional<TunedChoice> decide(const Problem& problem, std::span<const Trial> trials) {
  auto present = codegen::choose(problem);
  if (!present) {
    llvm::consumeError(present.takeError());
    return std::nullopt;
  }
  std::map<std::string, PlanPtr> legal;
  for (auto& named : codegen::candidates(problem, codegen::device_of(problem.architecture)))
    if (named.candidate.legal()) legal[codegen::to_string(*named.candidate.plan)] = std::move(named.candidate.plan);
  const std::vector<Measured> rows = measured_in(trials, *present, legal);
  if (rows.empty()) return std::nullopt;
  const std::vector<std::string> plans = share_out(problem, rows, legal);
  if (plans.empty()) return std::nullopt;

  TunedChoice choice = {problem, {}, {}};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    choice.rows.push_back(row_of(rows[i], plans[i]));
    if (i + 1 == rows.size())
      choice.buckets.push_back({codegen::max_tokens, plans[i]});
    else if (plans[i] != plans[i + 1])
      choice.buckets.push_back({boundary(rows[i], plans[i], rows[i + 1], plans[i + 1], *present), plans[i]});
  }
  return choice;
}

std::vector<TunedChoice> decide_all(std::span<const Trial> trials) {
  std::vector<std::pair<Problem, Trials>> problems;
  for (const Trial& trial : trials) {
    auto found = std::ranges::find(problems, trial.problem, [](const auto& known) { return known.first; });
    if (found == problems.end()) found = problems.insert(found, {trial.problem, {}});
    found->second.push_back(trial);
  }
  std::vector<TunedChoice> choices;
  for (const auto& [problem, of_problem] : problems)
    if (auto choice = decide(problem, of_problem)) choices.push_back(std::move(*choice));
  return choices;
}

}  // namespace mhcjit::tuning
