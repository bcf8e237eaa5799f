// pre_forward on host memory, as runtime/cpu/operators.h promises it.
#pragma once

#include "codegen/problem.h"
#include "mhcjit/pre_forward.h"

namespace mhcjit::runtime::cpu {

void pre_forward(const codegen::Problem& problem, const mhcjit_pre_forward_args& args, unsigned threads);

}  // namespace mhcjit::runtime::cpu
