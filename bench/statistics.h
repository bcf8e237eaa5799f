// Quantiles of samples.
#pragma once

#include <vector>

namespace mhcjit::bench {

// The sample nearest to `fraction` of the way from the least to the greatest; 0.5 is the median. `values`, in any
// order, is not empty.
double quantile(std::vector<double> values, double fraction);

}  // namespace mhcjit::bench
