// The plans that an engine of this environment has for a problem.
#pragma once

#include "codegen/choose.h"

namespace mhcjit::bench {

// Errors: INVALID_ARGUMENT (problem, or a variable of the environment).
llvm::Expected<std::vector<codegen::Bucket>> chosen_buckets(const codegen::Problem& problem);

}  // namespace mhcjit::bench
