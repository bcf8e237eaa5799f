// The template of pre_forward for few tokens: which of its specs are legal for a problem, and what they need.
#pragma once

#include <vector>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Every cluster size with each number of chunks of columns for a warp; for those that do not fit the reason why not.
std::vector<Candidate> few_tokens_candidates(const Problem& problem);

// Estimated clocks of a launch of as many groups of tokens as the template usually serves.
double few_tokens_cost(const KernelSpec& spec);

// Threads and shared memory of a block. Mirror the template's plan; each emitted unit asserts that the two agree.
int few_tokens_threads(const KernelSpec& spec);
int few_tokens_smem_bytes(const KernelSpec& spec);

// Groups into which a launch shares out `tokens` >= 1.
std::int64_t few_tokens_groups(const KernelSpec& spec, std::int64_t tokens);

// Gives `spec`, of another template, the best kernel for few tokens beside its own, where one fits. Not for a batch
// invariant problem: a token's sums would be added in another order when there are more tokens.
void add_few_tokens(KernelSpec& spec);

}  // namespace mhcjit::codegen
