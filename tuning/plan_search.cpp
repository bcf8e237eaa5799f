#include "tuning/plan_search.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "codegen/choose.h"
#include "codegen/emit.h"

namespace mhcjit::tuning {
namespace {

using codegen::PlanPtr;
using codegen::Problem;

// Up to which time a row's good plans are as fast as the fastest: up to the widest gap between two, within what a
// choice has to gain. Another sweep, whose times are a little different, finds the same gap.
double slowest_of_the_fast(const Measured& row) {
  std::vector<double> times;
  for (const auto& [plan, result] : row.results)
    if (row.is_good(plan)) times.push_back(result.us);
  if (times.empty()) return 0;
  std::ranges::sort(times);
  const double end = times.front() * (1 + least_gain);
  double slowest = times.front(), widest = 0;
  for (std::size_t i = 0; i < times.size() && times[i] <= end; ++i) {
    const double gap = (i + 1 < times.size() ? std::min(times[i + 1], end) : end) - times[i];
    if (gap <= widest) continue;
    widest = gap;
    slowest = times[i];
  }
  return slowest;
}

class Search {
 public:
  Search(const Problem& problem, const std::vector<Measured>& rows, const std::map<std::string, PlanPtr>& legal)
      : rows_(rows), is_batch_invariant_(problem.batch_invariant) {
    for (const Measured& row : rows) as_fast_.push_back(slowest_of_the_fast(row));
    for (const auto& [name, plan] : legal) {
      const auto may_serve = [&](const Measured& row) { return row.is_good(name) || row.is_as_good(name); };
      if (std::ranges::any_of(rows, may_serve)) plans_.push_back({name, plan, units_of(problem, *plan)});
    }
  }

  // The plan of each row; empty where no set of plans serves all of them.
  std::vector<std::string> run() {
    std::vector<std::size_t> set;
    extend(set, 0);
    if (judged_.empty()) return {};
    const Judged& fastest = *std::ranges::min_element(judged_, {}, &Judged::score);
    const Judged* best = &fastest;
    for (const Judged& one : judged_)
      if (one.score.second < best->score.second && is_alike(one, fastest)) best = &one;
    return best->plans;
  }

 private:
  struct Named {
    std::string name;
    PlanPtr plan;
    std::set<std::string> units;
  };
  // How good something is, less is better: times first, and where they are alike the estimated ones.
  using Score = std::pair<double, double>;

  // A set of plans.
  struct Judged {
    Score score;
    std::vector<double> times;       // the logarithm of each row's
    std::vector<std::string> plans;  // each row's
  };

  // Whether another sweep may find this set the faster one: what it loses against the fastest is little, and it gains
  // in a row.
  static bool is_alike(const Judged& one, const Judged& fastest) {
    constexpr double rounding = 1e-9;
    if (one.score.first < fastest.score.first + rounding) return true;
    if (one.score.first > fastest.score.first + 2 * least_gain) return false;
    for (std::size_t row = 0; row < one.times.size(); ++row)
      if (one.times[row] < fastest.times[row] - least_gain) return true;
    return false;
  }

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

  // Where the problem is batch-invariant, the plans have one order of additions.
  bool fits(const std::vector<std::size_t>& set) const {
    std::set<std::string> units, orders;
    for (const std::size_t i : set) {
      units.insert(plans_[i].units.begin(), plans_[i].units.end());
      orders.insert(plans_[i].plan->order());
    }
    if (is_batch_invariant_ && orders.size() > 1) return false;
    return set.size() == 1 || units.size() <= max_kernels;
  }

  // Nothing where the plan may not serve the row.
  std::optional<Score> score_of(std::size_t at, const Named& named) const {
    const Measured& row = rows_[at];
    const bool is_good = row.is_good(named.name);
    if (!is_good && !row.is_as_good(named.name)) return std::nullopt;
    const double us =
        is_good ? std::max(row.of(named.name)->us, as_fast_[at]) : row.of(row.present)->us * (1 + least_gain);
    const codegen::Device& device = codegen::device_of(named.plan->problem().architecture);
    return Score(std::log(us), std::log(named.plan->cost_us(row.tokens, device)));
  }

  void judge(const std::vector<std::size_t>& set) {
    // A plan is worth its compiles where it gains as much as a choice has to.
    Judged judged = {{least_gain * static_cast<double>(set.size()), 0}, {}, {}};
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      std::optional<std::pair<Score, std::string>> least;
      for (const std::size_t i : set) {
        const Named& named = plans_[i];
        const std::optional<Score> score_here = score_of(row, named);
        if (!score_here) continue;
        const std::pair<Score, std::string> one = {*score_here, named.name};
        if (!least || one < *least) least = one;
      }
      if (!least) return;
      judged.score.first += least->first.first;
      judged.score.second += least->first.second;
      judged.times.push_back(least->first.first);
      judged.plans.push_back(least->second);
    }
    judged_.push_back(std::move(judged));
  }

  const std::vector<Measured>& rows_;
  const bool is_batch_invariant_;
  std::vector<double> as_fast_;  // of each row
  std::vector<Named> plans_;
  std::vector<Judged> judged_;
};

}  // namespace

std::vector<std::string> share_out(const Problem& problem, const std::vector<Measured>& rows,
                                   const std::map<std::string, PlanPtr>& legal) {
  return Search(problem, rows, legal).run();
}

}  // namespace mhcjit::tuning
