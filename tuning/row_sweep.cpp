#include "tuning/row_sweep.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "tuning/decide.h"

namespace mhcjit::tuning {
namespace {

// Keeps half of the plans, at least the finalists, and always the present plan. The order stays.
void halve(std::vector<std::size_t>& left, const std::map<std::size_t, Result>& results, const Row& row,
           const Halving& halving) {
  const auto us = [&](std::size_t candidate) { return results.at(candidate).us; };
  std::vector<std::size_t> ranked = left;
  std::ranges::stable_sort(ranked, {}, us);
  const std::size_t most = std::max(halving.finalists, (left.size() + 1) / 2);
  if (ranked.size() > most) ranked.resize(most);
  const double slowest = halving.margin * us(ranked.front());
  std::erase_if(left, [&](std::size_t candidate) {
    if (candidate == row.present) return false;
    return us(candidate) > slowest || std::ranges::find(ranked, candidate) == ranked.end();
  });
}

}  // namespace

bool sweep_row(const Row& row, const Halving& halving, const TrialOf& trial_of) {
  std::vector<std::size_t> left(row.candidates.size());
  std::iota(left.begin(), left.end(), 0);
  std::map<std::size_t, std::vector<codegen::Trial>> trials;
  for (int round = 0; round < halving.rounds; ++round) {
    // Nothing is left to compare.
    if (round > 0 && left.size() < 2) break;
    std::map<std::size_t, Result> results;
    for (std::size_t i = 0; i < left.size(); ++i) {
      const std::size_t candidate = left[round % 2 == 0 ? i : left.size() - 1 - i];
      std::optional<codegen::Trial> trial = trial_of(candidate);
      if (!trial) return false;
      trials[candidate].push_back(std::move(*trial));
      if (const auto result = result_of(trials[candidate])) results[candidate] = *result;
    }
    std::erase_if(left, [&](std::size_t candidate) { return !results.contains(candidate); });
    if (!left.empty()) halve(left, results, row, halving);
  }
  return true;
}

}  // namespace mhcjit::tuning
