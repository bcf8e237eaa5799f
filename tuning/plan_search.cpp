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

// Plans that beat the present one by enough and are within this of the fastest count as fast as it.
constexpr double tie = 0.01;

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

  // Returns the plan of each row; empty if no set of plans serves all of them.
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
  // A lower score is better. Times come first; estimated times decide if those are alike.
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

  // A set has no more kernels than choose() compiles, and one order of additions if the problem is batch-invariant.
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
    // A plan is worth its compiles if it gains as much as a choice must.
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
  std::vector<double> as_fast_;  // for each row, the time up to which a plan is as good as the fastest
  std::vector<Named> plans_;
  std::vector<std::string> best_;
  Score least_ = {HUGE_VAL, HUGE_VAL};
};

}  // namespace

std::vector<std::string> share_out(const Problem& problem, const std::vector<Measured>& rows,
                                   const std::map<std::string, PlanPtr>& legal) {
  return Search(problem, rows, legal).run();
}

}  // namespace mhcjit::tuning
