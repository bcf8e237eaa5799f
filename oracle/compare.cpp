#include "oracle/compare.h"

#include <cmath>
#include <limits>

namespace mhcjit::oracle {

double normalised_error(std::span<const double> reference, std::span<const double> value) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (reference.size() != value.size()) return nan;
  double difference = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    difference += (value[i] - reference[i]) * (value[i] - reference[i]);
    size += reference[i] * reference[i];
  }
  if (!std::isfinite(difference) || !std::isfinite(size)) return nan;
  if (size == 0.0) return difference == 0.0 ? 0.0 : std::numeric_limits<double>::infinity();
  return std::sqrt(difference / size);
}

std::optional<double> error_bound(std::string_view tensor, mhcjit_dtype dtype) {
  for (const std::string_view name : {"h_mix", "inv_rms", "h_pre", "h_post", "h_res"}) {
    if (tensor == name) return 2e-5;
  }
  for (const std::string_view name : {"dphi", "dgamma", "dalpha", "dbias"}) {
    if (tensor == name) return 5e-5;
  }
  if (tensor != "h_in" && tensor != "dx") return std::nullopt;
  // Of bf16 and fp16 most is the rounding of the storage itself.
  switch (dtype) {
    case MHCJIT_BF16: return 2.5e-3;
    case MHCJIT_FP16: return 4e-4;
    case MHCJIT_FP32: return 2e-5;
  }
  return std::nullopt;
}

}  // namespace mhcjit::oracle
