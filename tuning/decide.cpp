#include "tuning/decide.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "bench/statistics.h"
#include "codegen/choose.h"
#include "codegen/emit.h"
#include "support/error.h"

namespace mhcjit::tuning {
namespace {

using codegen::Bucket;
using codegen::PlanPtr;
using codegen::Problem;
using codegen::Trial;
using codegen::TunedChoice;

// Plans closer than this change places from one sweep to the next.
constexpr double least_gain = 0.02;
// Of plans that beat the present one by enough, those within this of the fastest are as fast as it.
constexpr double tie = 0.01;

using Trials = std::vector<Trial>;

// What is known of one T.
struct Measured {
  std::int64_t tokens = 0;
  std::map<std::string, Result> results;  // by the plan's name
  std::string present;

  const Result* of(const std::string& plan) const {
    const auto found = results.find(plan);
    return found == results.end() ? nullptr : &found->second;
  }
  // Whether the plan may serve: the present one, and what beats it.
  bool allows(const std::string& plan) const {
    const Result* result = of(plan);
    if (result == nullptr || plan == present) return result != nullptr;
    const Result* now = of(present);
    return now == nullptr || beats(*result, *now);
  }
};

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

// Looks for the plans that share out all T.
class Search {
 public:
  Search(const Problem& problem, const std::vector<Measured>& rows, const std::map<std::string, PlanPtr>& legal)
      : rows_(rows), is_batch_invariant_(problem.batch_invariant) {
    for (const Measured& row : rows) {
      double fastest = HUGE_VAL;
      for (const auto& [plan, result] : row.results)
        if (row.allows(plan)) fastest = std::min(fastest, result.us);
      as_fast_.push_back(fastest * (1 + tie));
    }
    for (const auto& [name, plan] : legal) {
      const auto may_serve = [&](const Measured& row) { return row.allows(name); };
      if (std::ranges::any_of(rows, may_serve)) plans_.push_back({name, plan, units_of(problem, *plan)});
    }
  }

  // The plan of each row; empty where no set of plans serves all of them.
  std::vector<std::string> run() {
    std::vector<std::size_t> set;
    extend(set, 0);
    return best_;
  }

 private:
  struct Named {
    std::string name;
    PlanPtr plan;
    std::set<std::string> units;
  };
  // How good something is, less is better: times first, and where they are alike the estimated ones.
  using Score = std::pair<double, double>;

  static std::set<std::string> units_of(const Problem& problem, const codegen::Plan& plan) {
    std::set<std::string> units;
    for (const codegen::Kernel& kernel : plan.kernels()) units.insert(codegen::emit(problem, kernel));
    return units;
  }

  void extend(std::vector<std::size_t>& set, std::size_t from) {
    if (!set.empty() && fits(set)) judge(set);
    if (set.size() == codegen::max_plans) return;
    for (std::size_t i = from; i < plans_.size(); ++i) {
      set.push_back(i);
      extend(set, i + 1);
      set.pop_back();
    }
  }

  // As many kernels as choose() compiles for a problem; where it is batch-invariant, one order of additions.
  bool fits(const std::vector<std::size_t>& set) const {
    std::set<std::string> units, orders;
    for (const std::size_t i : set) {
      units.insert(plans_[i].units.begin(), plans_[i].units.end());
      orders.insert(plans_[i].plan->order());
    }
    if (is_batch_invariant_ && orders.size() > 1) return false;
    return set.size() == 1 || units.size() <= codegen::ChooseOptions().max_kernels;
  }

  Score score_of(std::size_t row, const Named& named) const {
    const codegen::Device& device = codegen::device_of(named.plan->problem().architecture);
    return {std::log(std::max(rows_[row].of(named.name)->us, as_fast_[row])),
            std::log(named.plan->cost_us(rows_[row].tokens, device))};
  }

  void judge(const std::vector<std::size_t>& set) {
    // A plan is worth its compiles where it gains as much as a choice has to.
    Score score = {least_gain * static_cast<double>(set.size()), 0};
    std::vector<std::string> chosen;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      std::optional<std::pair<Score, std::string>> least;
      for (const std::size_t i : set) {
        const Named& named = plans_[i];
        if (!rows_[row].allows(named.name)) continue;
        const std::pair<Score, std::string> one = {score_of(row, named), named.name};
        if (!least || one < *least) least = one;
      }
      if (!least) return;
      score.first += least->first.first;
      score.second += least->first.second;
      chosen.push_back(least->second);
    }
    // Sums of the same numbers.
    constexpr double rounding = 1e-9;
    const bool is_alike = std::abs(score.first - least_.first) < rounding;
    if (is_alike ? score.second >= least_.second : score.first > least_.first) return;
    least_ = score;
    best_ = std::move(chosen);
  }

  const std::vector<Measured>& rows_;
  const bool is_batch_invariant_;
  std::vector<double> as_fast_;  // a time of each row that is as good as that of the fastest plan
  std::vector<Named> plans_;
  std::vector<std::string> best_;
  Score least_ = {HUGE_VAL, HUGE_VAL};
};

// The last T of the plan of one row before that of the next takes over.
std::int64_t boundary(const Measured& row, const std::string& plan, const Measured& next, const std::string& next_plan,
                      const std::vector<Bucket>& present) {
  const std::int64_t now = codegen::bucket_of(present, row.tokens).max_tokens;
  if (plan == row.present && next_plan == next.present && now < next.tokens) return now;
  // Where the ratio of their times is 1, if its logarithm is a line over that of T.
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

// To what a measurement has, so that lines stay short.
double rounded(double value) { return std::round(value * 1e4) / 1e4; }

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

std::optional<Result> result_of(std::span<const Trial> trials) {
  std::vector<double> times;
  for (const Trial& trial : trials) {
    if (trial.outcome != codegen::Outcome::measured) return std::nullopt;
    times.push_back(trial.us);
  }
  if (times.size() == 1) return Result{trials.front().us, trials.front().spread_us, 1};
  // The first is of a plan that has just been loaded.
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
  const std::vector<std::string> plans = Search(problem, rows, legal).run();
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
