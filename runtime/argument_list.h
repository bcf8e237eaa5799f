// An operator's argument struct as arguments.h tells it to other languages.
#pragma once

#include <vector>

#include "codegen/problem.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::runtime {

// Every member, in the order of the struct.
std::vector<mhcjit_argument> argument_list(const codegen::Problem& problem);

}  // namespace mhcjit::runtime
