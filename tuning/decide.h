// From trials to plans.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// To what a measurement has, so that the lines of a record stay short.
double rounded(double value);

// All trials of one plan at one T.
struct Result {
  double us = 0;         // median of the trials after the first, if there are more
  double spread_us = 0;  // half of what lies between the fastest and the slowest of them; of a single one, its own
  int trials = 0;
};

// Nothing where one was not measured. `trials` is not empty.
std::optional<Result> result_of(std::span<const codegen::Trial> trials);

// Whether one is faster than another by more than the spread of both, and by more than 2 %.
bool beats(const Result& one, const Result& other);

// The choice that a problem's trials lead to: the present plans, but where another beats the present one. Nothing where
// nothing was measured, or no plan is legal any more.
std::optional<codegen::TunedChoice> decide(const codegen::Problem& problem, std::span<const codegen::Trial> trials);

// The choice of each problem of the trials, in the order of their first ones.
std::vector<codegen::TunedChoice> decide_all(std::span<const codegen::Trial> trials);

}  // namespace mhcjit::tuning
