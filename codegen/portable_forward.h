// The portable template of pre_forward, which serves every problem: which of its specs are legal, and what they need.
#pragma once

#include <vector>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Every combination of tokens for a warp, tiles of rows for a block and blocks for a multiprocessor; for those whose
// registers or shared memory do not suffice the reason. Every problem has a legal one.
std::vector<Candidate> portable_forward_candidates(const Problem& problem);

// Estimated time over the time that the bytes take which must move, for many tokens.
double portable_forward_cost(const KernelSpec& spec);

// Shared memory of a block that packs phi, and of one that multiplies. Mirror the templates' plans; each emitted unit
// asserts that the two agree.
int pack_phi_smem_bytes(const KernelSpec& spec);
int project_smem_bytes(const KernelSpec& spec);

// Rows of packed phi: those of phi in whole tiles, for all blocks of rows.
int packed_rows(const KernelSpec& spec);

}  // namespace mhcjit::codegen
