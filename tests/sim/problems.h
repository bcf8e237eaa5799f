// Names of the problems whose kernels are built for the host: "n4_d127_bf16_gamma".
#pragma once

#include <string_view>

#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::sim {

llvm::Expected<codegen::Problem> parse_problem(std::string_view name, codegen::Op op);

}  // namespace mhcjit::sim
