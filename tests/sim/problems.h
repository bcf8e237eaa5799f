// Names of the problems whose kernels are built for the host: nN_dD_DTYPE[_gamma][_fp32dx], then letters with numbers
// that say which plan. Without any: of pre_forward the one of two passes without clusters that has the fewest tokens a
// warp, of pre_backward the first of portable in several splits.
//
//   cC_tT[_pP_gG]      one_pass in clusters of C and tiles of T tokens; panels of P columns, G row groups
//   fF_kK              few_tokens in clusters of F, K chunks of columns a warp
//   fF_pP_gG           the same as one_pass with panels of P columns and G gemm warps adds
//   wW_rR[_cC[_xX]]    two_pass, W tokens a warp and R blocks of rows; in clusters of C, launched as clusters of X
//   gR[_cC[_xX]]       the same where warp groups multiply
//   cC[_pP][_eE][_rR]  pre_backward's one_pass in clusters of C; panels of P columns, E slots of exchanged sums, R
//                      registers of a consumer warp
//   lC[_pP][_eE][_rR]  the same in C blocks that exchange sums through the L2 cache
//   bB[_aA][_mM]       pre_backward's portable, B tiles of columns a warp, in one split or in clusters of up to A that
//                      add up as many; for M multiprocessors
//
// "_sS" after these asks for S stages in place of as many as fit, so that few tokens use each again.
#pragma once

#include <cstdint>
#include <string_view>

#include <llvm/Support/Error.h>

#include "codegen/plan.h"

namespace mhcjit::sim {

// In Kernel::dynamic_smem_bytes: as much as the template says, since it has fewer stages than it was planned with.
inline constexpr int smem_bytes_of_template = -1;

// The first of several legal candidates. Errors: INVALID_ARGUMENT.
llvm::Expected<codegen::PlanPtr> parse_plan(std::string_view name, const codegen::Operator& op);

// The constant that says how many stages a kernel's ring has; null where it has none.
const codegen::Constant* find_stages(const codegen::Kernel& kernel);

}  // namespace mhcjit::sim
