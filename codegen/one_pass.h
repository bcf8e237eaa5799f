// The one-pass template of pre_forward: which of its specs are legal for a problem, and what they need.
#pragma once

#include <vector>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Every combination of cluster size, tile and warps that the problem's columns divide into, with the most pipeline
// stages and the most of phi in registers that fit; for the others the reason why not.
std::vector<Candidate> one_pass_candidates(const Problem& problem);

// Estimated time over the time that the bytes take.
double one_pass_cost(const KernelSpec& spec);

// Shared memory of a block. Mirrors the template's plan; each emitted unit asserts that the two agree.
int one_pass_smem_bytes(const KernelSpec& spec);

}  // namespace mhcjit::codegen
