// Ranks candidates without measuring.
#pragma once

#include <optional>

#include <llvm/Support/Error.h>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Estimated cost of a legal spec: of pre_forward in the time that the bytes take which must move, of pre_backward in
// fused multiply-adds for each element of x. Comparable for one problem.
double estimated_cost(const KernelSpec& spec);

// The legal candidate of least estimated cost. The one function that decides what is compiled: dispatch, warm-up and
// the tools all ask it. Without `wanted` it is of the one-pass or the portable template, with a kernel for few tokens
// beside it where results may change with T.
// Errors: INVALID_ARGUMENT when `problem` does not pass check(), also when the wanted template does not fit it,
// with the reasons.
llvm::Expected<KernelSpec> choose_spec(const Problem& problem, std::optional<KernelTemplate> wanted = std::nullopt);

}  // namespace mhcjit::codegen
