#include "codegen/workspace.h"

#include <algorithm>

#include "codegen/divide_up.h"
#include "codegen/portable_forward.h"

namespace mhcjit::codegen {
namespace {

// Hands out regions one behind the other.
class Regions {
 public:
  std::size_t add(std::int64_t floats) {
    const std::size_t offset = end_;
    end_ += (static_cast<std::size_t>(floats) * sizeof(float) + 15) / 16 * 16;
    return offset;
  }
  std::size_t end() const { return end_; }

 private:
  std::size_t end_ = 0;
};

}  // namespace

std::int64_t tokens_per_split(const KernelSpec& spec, std::int64_t tokens) {
  return divide_up(tokens, spec.max_token_splits);
}

int token_splits(const KernelSpec& spec, std::int64_t tokens) {
  const std::int64_t per_split = tokens_per_split(spec, tokens);
  return static_cast<int>(divide_up(tokens, per_split));
}

int bias_slots(const KernelSpec& spec, std::int64_t tokens) {
  const int tokens_per_block = spec.tokens_per_group_block();
  const std::int64_t blocks =
      std::min<std::int64_t>(divide_up(tokens, tokens_per_block), spec.max_bias_slots / tokens_per_block);
  return static_cast<int>(blocks) * tokens_per_block;
}

PreForwardWorkspace pre_forward_workspace(const KernelSpec& spec, std::int64_t tokens) {
  const bool packs_phi =
      spec.kernel_template == KernelTemplate::portable || spec.kernel_template == KernelTemplate::two_pass;
  if (!packs_phi || tokens == 0 || tokens <= spec.few_max_tokens) return {};
  Regions regions;
  PreForwardWorkspace workspace;
  // Of a cluster they are in shared memory.
  if (spec.cluster_size == 0) workspace.partial_sums = regions.add(tokens * spec.k_splits * (spec.problem.rows() + 1));
  // As many words as columns: two terms of 16 bits each.
  workspace.packed_phi = regions.add(packed_columns(spec) * packed_rows(spec));
  if (spec.problem.dtype == DType::fp16)
    workspace.phi_factors = regions.add(divide_up(packed_columns(spec), spec.columns_per_sum) * packed_rows(spec));
  workspace.total_bytes = regions.end();
  return workspace;
}

PreBackwardWorkspace pre_backward_workspace(const KernelSpec& spec, std::int64_t tokens) {
  if (tokens == 0) return {};
  const Problem& problem = spec.problem;
  Regions regions;
  PreBackwardWorkspace workspace;
  workspace.dh_mix = regions.add(tokens * spec.padded_rows());
  workspace.x_coefficient = regions.add(tokens);
  workspace.bias_partials = regions.add(std::int64_t{bias_slots(spec, tokens)} * 2 * problem.rows());
  // Not token_splits(): that can be smaller for more tokens.
  const std::int64_t splits = std::min<std::int64_t>(spec.max_token_splits, tokens);
  workspace.phi_partials = regions.add(splits * problem.rows() * problem.columns());
  workspace.total_bytes = regions.end();
  return workspace;
}

std::size_t workspace_bytes(const KernelSpec& spec, std::int64_t tokens) {
  return spec.problem.op == Op::pre_forward ? pre_forward_workspace(spec, tokens).total_bytes
                                            : pre_backward_workspace(spec, tokens).total_bytes;
}

}  // namespace mhcjit::codegen
