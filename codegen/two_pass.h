// The two-pass template of pre_forward: which of its specs are legal for a problem, and what they need.
#pragma once

#include <vector>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Every combination of tokens for a warp, tiles of rows for a block and blocks for a multiprocessor; for those whose
// registers or shared memory do not suffice the reason. Every problem of 16-bit x has a legal one.
std::vector<Candidate> two_pass_candidates(const Problem& problem);

// Estimated time over the time that the bytes take which must move, for many tokens.
double two_pass_cost(const KernelSpec& spec);

// Shared memory of a block of the first kernel. Mirrors the template's plan; each emitted unit asserts that the two
// agree.
int two_pass_smem_bytes(const KernelSpec& spec);

}  // namespace mhcjit::codegen
