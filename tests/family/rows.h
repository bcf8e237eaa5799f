// A family of pre_forward that only these tests have.
#pragma once

#include "codegen/plan.h"

namespace mhcjit::test {

// A block for each token; for small problems.
extern const codegen::Family rows;

// pre_forward with this family beside the library's.
const codegen::Operator& forward_with_rows();

// n = 4, D = 40, bf16, gamma.
codegen::Problem small_problem();

}  // namespace mhcjit::test
