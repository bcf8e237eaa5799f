// Chooses plans from trials.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// Rounds to the precision of a measurement, so that the lines of a record stay short.
double rounded(double value);

// All trials of one plan at one T.
struct Result {
  double us = 0;         // median of the trials after the first, if there are more
  double spread_us = 0;  // half of the range of those trials; a single trial's own spread
  int trials = 0;
};

// Returns nothing if a trial was not measured. `trials` is not empty.
std::optional<Result> result_of(std::span<const codegen::Trial> trials);

// Whether a plan is faster than another by more than the spread of both, and by more than 2 %.
bool beats(const Result& one, const Result& other);

// Returns the choice that a problem's trials lead to: a row's present plan stays unless another beats it. Returns
// nothing if nothing was measured, or if no plan is legal any more.
std::optional<codegen::TunedChoice> decide(const codegen::Problem& problem, std::span<const codegen::Trial> trials);

// Returns the choice of each problem of the trials, in the order of their first ones.
std::vector<codegen::TunedChoice> decide_all(std::span<const codegen::Trial> trials);

}  // namespace mhcjit::tuning
