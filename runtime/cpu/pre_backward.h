// pre_backward on host memory, as runtime/cpu/operators.h promises it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codegen/problem.h"
#include "mhcjit/pre_backward.h"

namespace mhcjit::runtime::cpu {

// M floats a token, the gradient at the logits.
std::size_t pre_backward_workspace_bytes(const codegen::Problem& problem, std::int64_t T);

// With T == 0, parameter gradients that are overwritten become zero.
void pre_backward(const codegen::Problem& problem, const mhcjit_pre_backward_args& args, unsigned threads);

}  // namespace mhcjit::runtime::cpu
