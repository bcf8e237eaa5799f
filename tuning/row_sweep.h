// One row's trials: successive halving in rounds. A round visits the plans that are left one after another, forwards
// and backwards in turn, so that what drifts touches all of them; the last rounds are those of the finalists.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "codegen/tuned_record.h"
#include "tuning/space.h"

namespace mhcjit::tuning {

struct Halving {
  std::size_t finalists = 4;  // in the end no more are left, and the present plan
  int rounds = 6;
  // What is slower than the best by so much is no finalist.
  double margin = 1.1;
};

// The next trial of a candidate; nothing where the sweep has to stop.
using TrialOf = std::function<std::optional<codegen::Trial>(std::size_t candidate)>;

// Whether the row is done. What comes next depends on the trials alone: with those of a record in their order it goes
// on where the record ends.
bool sweep_row(const Row& row, const Halving& halving, const TrialOf& trial_of);

}  // namespace mhcjit::tuning
