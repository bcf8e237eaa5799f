// How far an operator's outputs are from the float64 oracle's, on a sample of tokens.
#pragma once

#include <map>
#include <string>

#include "bench/input_sets.h"

namespace mhcjit::bench {

struct TensorError {
  double error = 0.0;  // normalised, the largest of all runs; NaN when one holds a NaN or an infinity
  double bound = 0.0;
};

using Errors = std::map<std::string, TensorError>;

bool within_bounds(const Errors& errors);

// Of set 0: what the calls so far have left there, then one more call each with x of standard deviation 0.05, 1 and 20
// in the sampled tokens. Sums over tokens are compared in these alone.
Errors check_accuracy(const InputSets& sets);

}  // namespace mhcjit::bench
