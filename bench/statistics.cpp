#include "bench/statistics.h"

#include <algorithm>
#include <cmath>

namespace mhcjit::bench {

double quantile(std::vector<double> values, double fraction) {
  const auto at = values.begin() + std::lround(fraction * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace mhcjit::bench
