// Names of the problems whose kernels are built for the host: "n4_d127_bf16_gamma", with the portable template, and
// "n4_d512_bf16_gamma_c4_t8", with the one-pass template in clusters of 4 and tiles of 8 tokens; "..._s2" after it asks
// for 2 stages in place of as many as fit, so that few tokens use each again; "n4_d128_bf16_f4_k1", with the template
// for few tokens in clusters of 4 with one chunk of columns a warp, and stages likewise.
#pragma once

#include <string_view>

#include <llvm/Support/Error.h>

#include "codegen/kernel_spec.h"

namespace mhcjit::sim {

// Portable: of pre_backward the spec that would be compiled, of pre_forward the legal candidate with the fewest tokens
// a warp. One-pass: of the legal candidates the one with the fewest warps. Errors: INVALID_ARGUMENT.
llvm::Expected<codegen::KernelSpec> parse_spec(std::string_view name, codegen::Op op);

}  // namespace mhcjit::sim
