// How far a result may be from the oracle's.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "mhcjit/mhcjit.h"

namespace mhcjit::oracle {

// ||value - reference|| / ||reference||. NaN when a NaN or an infinity stands anywhere or the sizes differ, so that
// every `error <= bound` fails. An all-zero reference gives 0 when `value` is all zero too, else infinity.
double normalised_error(std::span<const double> reference, std::span<const double> value);

// The largest normalised error allowed at the default precision; `dtype` is that of x. `tensor` is a name of
// mhcjit/mhcjit.h: h_in, h_post, h_res, inv_rms, h_mix, h_pre, dx, dphi, dgamma, dalpha or dbias; any other has no
// bound.
std::optional<double> error_bound(std::string_view tensor, mhcjit_dtype dtype);

}  // namespace mhcjit::oracle
