// One row's trials: successive halving in rounds. A round visits the plans that are left one after another, forwards
// and backwards in turn, so that drift touches all of them. The last rounds are those of the finalists.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "codegen/tuned_record.h"
#include "tuning/space.h"

namespace mhcjit::tuning {

struct Halving {
  std::size_t finalists = 4;  // plans left at the end, beside the present one
  int rounds = 6;
  // A plan that is slower than the best by this factor is no finalist.
  double margin = 1.1;
};

// Makes the next trial of a candidate; returns nothing if the sweep has to stop.
using TrialOf = std::function<std::optional<codegen::Trial>(std::size_t candidate)>;

// Returns whether the row is done. The next trial depends on the earlier ones alone: with those of a record in their
// order the sweep continues where the record ends.
bool sweep_row(const Row& row, const Halving& halving, const TrialOf& trial_of);

}  // namespace mhcjit::tuning
