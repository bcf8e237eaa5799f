// How far an operator's outputs are from the float64 oracle's, on a sample of tokens.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bench/input_sets.h"
#include "oracle/compare.h"

namespace mhcjit::bench {

// The comparison of each output that took the largest share of its bound.
using Errors = std::map<std::string, oracle::Comparison>;

bool within_bounds(const Errors& errors);

// Spread over all of T, the first and the last among them.
std::vector<std::int64_t> sampled_tokens(std::int64_t T);

// The sampled tokens and what the oracle computes for them.
class Sample {
 public:
  // x of set 0 has this standard deviation in these tokens.
  Sample(const InputSets& sets, double x_std);

  // Compares what a set that has the same inputs holds in these tokens.
  void compare_tokens(Errors& errors, int set = 0) const;
  // Compares the outputs of set 0 that are sums over all tokens, to which no other has added.
  void compare_sums(Errors& errors) const;

 private:
  void compare(Errors& errors, const oracle::Reference& reference, const std::vector<double>& values) const;

  const InputSets& sets_;
  std::vector<std::int64_t> tokens_;
  Expected expected_;
};

// Compares set 0: what the calls so far have left there, then one more call each with x of standard deviation 0.05, 1
// and 20 in the sampled tokens.
Errors check_accuracy(const InputSets& sets);

}  // namespace mhcjit::bench
