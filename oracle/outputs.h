// The outputs that the oracle computed, listed for comparison.
#pragma once

#include <vector>

#include "oracle/compare.h"
#include "oracle/pre.h"

namespace mhcjit::oracle {

// Every output in the order of mhcjit/mhcjit.h, dgamma only where the shape has gamma. They refer to the values, which
// must outlive them. The terms of two may cancel: dalpha is measured by 1e-3 of the sum of its terms' magnitudes at
// least, h_res by half of its terms, which matters where it is a few numbers near zero.
std::vector<Reference> outputs_of(const Shape& shape, const Forward& forward);
std::vector<Reference> outputs_of(const Shape& shape, const Backward& backward);
std::vector<Reference> outputs_of(const Shape&, const Forward&&) = delete;
std::vector<Reference> outputs_of(const Shape&, const Backward&&) = delete;

}  // namespace mhcjit::oracle
