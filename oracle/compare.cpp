#include "oracle/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "oracle/tensors.h"

namespace mhcjit::oracle {
namespace {

double norm(std::span<const double> values) {
  double square = 0.0;
  for (const double value : values) square += value * value;
  return std::sqrt(square);
}

void compare_rows(const Reference& reference, std::span<const double> value, Comparison& comparison) {
  const auto size = static_cast<std::size_t>(reference.row_size);
  const std::size_t rows = reference.values.size() / size;
  if (rows == 0) return;
  const double root_mean_square =
      std::max(norm(reference.values), reference.least_norm) / std::sqrt(static_cast<double>(rows));
  // A row that is not finite speaks for itself.
  const double typical = std::isfinite(root_mean_square) ? root_mean_square : 0.0;
  comparison.worst_row = 0;
  for (std::size_t row = 0; row < rows && !std::isnan(comparison.row_error); ++row) {
    const double error =
        normalised_error(reference.values.subspan(row * size, size), value.subspan(row * size, size), typical);
    if (error <= comparison.row_error) continue;
    comparison.row_error = error;
    comparison.worst_row = static_cast<std::int64_t>(row);
  }
}

// Infinities of 16 bits that are the rounding of the reference, which lies beyond the largest number, become it.
std::vector<double> without_right_infinities(std::span<const double> reference, std::span<const double> value,
                                             mhcjit_dtype dtype) {
  const double largest = largest_number(dtype);
  std::vector<double> values(value.begin(), value.end());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool rounds_to_it =
        std::abs(reference[i]) >= largest && std::signbit(reference[i]) == std::signbit(values[i]);
    if (std::isinf(values[i]) && std::isfinite(reference[i]) && rounds_to_it) values[i] = reference[i];
  }
  return values;
}

bool is_rounded(std::span<const double> reference, std::span<const double> value, mhcjit_dtype dtype) {
  double square = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double units = std::abs(value[i] - reference[i]) / spacing(reference[i], dtype);
    if (!(units <= 1.0)) return false;
    square += units * units;
  }
  const auto count = static_cast<double>(reference.size());
  return std::sqrt(square / count) <= 0.5 + 0.5 / std::sqrt(count);
}

}  // namespace

double normalised_error(std::span<const double> reference, std::span<const double> value, double least_norm) {
  constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  if (reference.size() != value.size()) return nan;
  double square = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double difference = value[i] - reference[i];
    if (!(std::abs(difference) <= absolute_floor)) square += difference * difference;
  }
  const double size = std::max(norm(reference), least_norm);
  if (!std::isfinite(square) || !std::isfinite(size)) return nan;
  if (size == 0.0) return square == 0.0 ? 0.0 : std::numeric_limits<double>::infinity();
  return std::sqrt(square) / size;
}

std::optional<double> error_bound(std::string_view tensor, DTypes dtypes) {
  for (const std::string_view name : {"h_mix", "inv_rms", "h_pre", "h_post", "h_res"}) {
    if (tensor == name) return 2e-5;
  }
  for (const std::string_view name : {"dphi", "dgamma", "dalpha", "dbias"}) {
    if (tensor == name) return 5e-5;
  }
  if (tensor != "h_in" && tensor != "dx") return std::nullopt;
  // In 16 bits most of it is the rounding of the storage itself.
  switch (dtype_of(tensor, dtypes)) {
    case MHCJIT_BF16: return 2.5e-3;
    case MHCJIT_FP16: return 4e-4;
    case MHCJIT_FP32: return 2e-5;
  }
  return std::nullopt;
}

double Comparison::share() const {
  const bool is_nan = std::isnan(error) || std::isnan(row_error);
  const double larger =
      is_nan ? std::numeric_limits<double>::infinity() : std::max(error / bound, row_error / row_bound());
  return is_rounded ? std::min(larger, 1.0) : larger;
}

Comparison compare(const Reference& reference, std::span<const double> value, DTypes dtypes) {
  const mhcjit_dtype dtype = dtype_of(reference.name, dtypes);
  const bool has_16_bits = dtype != MHCJIT_FP32;
  Comparison comparison;
  comparison.bound = error_bound(reference.name, dtypes).value();
  comparison.error = std::numeric_limits<double>::quiet_NaN();
  if (reference.values.size() != value.size()) return comparison;
  std::vector<double> changed;
  if (has_16_bits && std::ranges::any_of(value, [](double each) { return std::isinf(each); }))
    value = changed = without_right_infinities(reference.values, value, dtype);
  comparison.error = normalised_error(reference.values, value, reference.least_norm);
  if (reference.row_size > 0) compare_rows(reference, value, comparison);
  if (!comparison.ok() && has_16_bits) comparison.is_rounded = is_rounded(reference.values, value, dtype);
  return comparison;
}

std::string to_string(const Comparison& comparison) {
  std::string text = fmt::format("error {:.2g}, bound {:.2g}", comparison.error, comparison.bound);
  if (comparison.worst_row >= 0)
    text += fmt::format("; worst row {}: {:.2g}, bound {:.2g}", comparison.worst_row, comparison.row_error,
                        comparison.row_bound());
  return text;
}

}  // namespace mhcjit::oracle
