// Which kernels an engine of this environment has for a problem.
#pragma once

#include "codegen/kernel_spec.h"

namespace mhcjit::bench {

// Errors: INVALID_ARGUMENT (problem, or a variable of the environment).
llvm::Expected<codegen::KernelSpec> spec_of(const codegen::Problem& problem);

}  // namespace mhcjit::bench
