// How far a result may be from the oracle's: the bound of each output, and the one comparison that every test, tool and
// benchmark makes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "mhcjit/mhcjit.h"
#include "oracle/storage.h"

namespace mhcjit::oracle {

// Differences up to this count as none: the operators compute in fp32, and below its smallest normal number fp32 keeps
// less than its precision, or nothing.
inline constexpr double absolute_floor = 0x1p-126;

// ||value - reference|| / max(||reference||, least_norm). NaN when a NaN or an infinity stands anywhere or the sizes
// differ, so that every `error <= bound` fails. If that norm is zero: 0 when no difference is above absolute_floor,
// else infinity.
double normalised_error(std::span<const double> reference, std::span<const double> value, double least_norm = 0.0);

// The largest normalised error allowed at the default precision. `tensor` is a name of mhcjit/mhcjit.h: h_in, h_post,
// h_res, inv_rms, h_mix, h_pre, dx, dphi, dgamma, dalpha or dbias; any other has no bound.
std::optional<double> error_bound(std::string_view tensor, DTypes dtypes);

// The right values of one output. oracle/outputs.h makes them.
struct Reference {
  std::string_view name;  // one that has a bound
  std::span<const double> values;
  std::int64_t row_size = 0;  // numbers a token; 0: the output is a sum over tokens
  double least_norm = 0.0;    // of an output whose terms may cancel: what its errors are relative to at least
};

struct Comparison {
  double error = 0.0;           // normalised, of the whole tensor
  double bound = 0.0;           // of `error`
  double row_error = 0.0;       // the largest of a token's row
  std::int64_t worst_row = -1;  // its token, the first that is not finite; -1: the output has no rows
  bool is_rounded = false;      // one of 16 bits beyond a bound is the reference, rounded

  double row_bound() const { return 3.0 * bound; }
  bool ok() const { return share() <= 1.0; }
  // The part of its bound that the result takes, of the two errors the larger part: above 1 it is wrong, and infinite
  // where it is not finite.
  double share() const;
};

// The error of the whole is relative to the norm of the reference, a row's to the larger of its norm and the root mean
// square of all rows' norms; both to no less than least_norm allows. A result is right when both are within their
// bounds.
//
// An output of 16 bits is right, too, when it is the reference rounded: every element within one unit in the last
// place, their root mean square within 0.5 + 0.5 / sqrt(elements) units. Rounding to nearest stays within 0.5;
// truncation, 0.58, is refused unless the elements are few. An infinity counts as the reference where that lies beyond
// the largest number of 16 bits, and nowhere else.
Comparison compare(const Reference& reference, std::span<const double> value, DTypes dtypes);

// "error 1.1e-03, bound 2.5e-03; worst row 17: 2.0e-02, bound 7.5e-03"
std::string to_string(const Comparison& comparison);

}  // namespace mhcjit::oracle
