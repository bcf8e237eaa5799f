// What the kernels of an operator keep in the caller's workspace, and how T is shared out where that decides its size.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codegen/kernel_spec.h"

namespace mhcjit::codegen {

// Byte offsets into the workspace; every region starts at a multiple of 16.
struct PreForwardWorkspace {
  std::size_t partial_sums = 0;  // float [T, k_splits, M + 1]
  std::size_t packed_phi = 0;    // as templates/packed_phi.cuh says
  std::size_t phi_factors = 0;   // float [sums of columns, packed rows]; x in fp16
  std::size_t total_bytes = 0;
};

struct PreBackwardWorkspace {
  std::size_t dh_mix = 0;         // float [T, padded_rows]
  std::size_t x_coefficient = 0;  // float [T]
  std::size_t bias_partials = 0;  // float [bias_slots, 2, M]
  std::size_t phi_partials = 0;   // float [token_splits, M, n*D]
  std::size_t total_bytes = 0;
};

PreForwardWorkspace pre_forward_workspace(const KernelSpec& spec, std::int64_t tokens);
PreBackwardWorkspace pre_backward_workspace(const KernelSpec& spec, std::int64_t tokens);

// Bytes that a call with `tokens` tokens needs; never less for more tokens.
std::size_t workspace_bytes(const KernelSpec& spec, std::int64_t tokens);

// pre_backward's ranges of tokens for `tokens` >= 1.
std::int64_t tokens_per_split(const KernelSpec& spec, std::int64_t tokens);
int token_splits(const KernelSpec& spec, std::int64_t tokens);
int bias_slots(const KernelSpec& spec, std::int64_t tokens);

}  // namespace mhcjit::codegen
