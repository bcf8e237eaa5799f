// A plan's kernels as C++ for the host: what the simulator's programs are built from.
#pragma once

#include <string>
#include <vector>

#include "codegen/plan.h"

namespace mhcjit::sim {

// A source that defines NAME_OPERATOR_unit, a Unit of unit.h. Entries and structs of constants have the same names for
// every problem, so the source renames its own before it takes in the emitted units, which are otherwise untouched.
std::string host_unit(const std::string& name, const codegen::Plan& plan);

// A source that defines units(): those of these names, "NAME_OPERATOR".
std::string host_registry(const std::vector<std::string>& names);

}  // namespace mhcjit::sim
