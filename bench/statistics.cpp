#include "bench/statistics.h"

#include <algorithm>
#include <cstddef>

namespace mhcjit::bench {

double quantile(std::vector<double> values, double fraction) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1) + 0.5);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace mhcjit::bench
