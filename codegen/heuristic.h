// Ranks candidates without measuring.
#pragma once

#include <llvm/Support/Error.h>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Estimated cost of a legal spec, in fused multiply-adds for each element of x. Comparable for one problem only.
double estimated_cost(const KernelSpec& spec);

// The legal candidate of least estimated cost. The one function that decides what is compiled: dispatch, warm-up and
// the tools all ask it. Errors: INVALID_ARGUMENT when `problem` does not pass check().
llvm::Expected<KernelSpec> choose_spec(const Problem& problem);

}  // namespace mhcjit::codegen
