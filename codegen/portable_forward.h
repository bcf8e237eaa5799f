// The portable template of pre_forward, which serves every problem, and the template of two passes, which is the same
// on clusters: which of their specs are legal, and what they need.
#pragma once

#include <vector>

#include "codegen/candidates.h"

namespace mhcjit::codegen {

// Every combination of tokens for a warp, tiles of rows for a block and blocks for a multiprocessor, and of warps or
// warp groups that multiply; for those that the device, its registers or its shared memory do not suffice for the
// reason. Every problem has a legal one.
std::vector<Candidate> portable_forward_candidates(const Problem& problem);

// The same for clusters: every size too, where each block has columns, in place of the ranges that fill the device.
std::vector<Candidate> two_pass_candidates(const Problem& problem);

// Estimated time over the time that the bytes take which must move, for many tokens, of a spec of either.
double portable_forward_cost(const KernelSpec& spec);

// Shared memory of a block that packs phi, of one that multiplies, and of one that applies. Mirror the templates'
// plans; each emitted unit asserts that the two agree.
int pack_phi_smem_bytes(const KernelSpec& spec);
int project_smem_bytes(const KernelSpec& spec);
int apply_smem_bytes(const KernelSpec& spec);

// Columns that a block multiplies at a time.
inline constexpr int chunk_columns = 64;

// Tokens of a block that multiplies, and threads of one of warp groups.
int project_tokens(const KernelSpec& spec);
int project_wgmma_threads(const KernelSpec& spec);

// Rows of packed phi: those of phi in whole tiles, for all blocks of rows; and columns, in whole chunks.
int packed_rows(const KernelSpec& spec);
std::int64_t packed_columns(const KernelSpec& spec);

}  // namespace mhcjit::codegen
