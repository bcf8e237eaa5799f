#include "runtime/kernel_arguments.h"

#include "codegen/workspace.h"

namespace mhcjit::runtime {
namespace {

template <typename T = float>
T* region(void* workspace, std::size_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(workspace) + offset);
}

}  // namespace

PreForwardArgs kernel_arguments(const codegen::KernelSpec& spec, const mhcjit_pre_forward_args& args) {
  const codegen::PreForwardWorkspace workspace = codegen::pre_forward_workspace(spec, args.T);
  return {
      .x = args.x,
      .phi = args.phi,
      .alpha = args.alpha,
      .bias = args.bias,
      .gamma = args.gamma,
      .h_in = args.h_in,
      .h_post = args.h_post,
      .h_res = args.h_res,
      .inv_rms = args.inv_rms,
      .h_mix = args.h_mix,
      .h_pre = args.h_pre,
      .partial_sums = region(args.workspace, workspace.partial_sums),
      .packed_phi = region<unsigned int>(args.workspace, workspace.packed_phi),
      .phi_factors = region(args.workspace, workspace.phi_factors),
      .tokens = args.T,
      .norm_eps = args.norm_eps,
      .hc_eps = args.hc_eps,
      .post_mult = args.post_mult,
  };
}

PreBackwardArgs kernel_arguments(const codegen::KernelSpec& spec, const mhcjit_pre_backward_args& args) {
  const codegen::PreBackwardWorkspace workspace = codegen::pre_backward_workspace(spec, args.T);
  return {
      .x = args.x,
      .phi = args.phi,
      .alpha = args.alpha,
      .gamma = args.gamma,
      .inv_rms = args.inv_rms,
      .h_mix = args.h_mix,
      .h_pre = args.h_pre,
      .h_post = args.h_post,
      .dh_in = args.dh_in,
      .dh_post = args.dh_post,
      .dh_res = args.dh_res,
      .dx = args.dx,
      .dphi = args.dphi,
      .dgamma = args.dgamma,
      .dalpha = args.dalpha,
      .dbias = args.dbias,
      .dh_mix = region(args.workspace, workspace.dh_mix),
      .x_coefficient = region(args.workspace, workspace.x_coefficient),
      .bias_partials = region(args.workspace, workspace.bias_partials),
      .phi_partials = region(args.workspace, workspace.phi_partials),
      .tokens = args.T,
      .tokens_per_split = codegen::tokens_per_split(spec, args.T),
      .token_splits = codegen::token_splits(spec, args.T),
      .bias_slots = codegen::bias_slots(spec, args.T),
      .hc_eps = args.hc_eps,
      .post_mult = args.post_mult,
      .accumulate_dx = args.accumulate_dx,
      .accumulate_parameters = args.accumulate_parameters,
  };
}

bool is_needed(codegen::Stage, const mhcjit_pre_forward_args&) { return true; }

bool is_needed(codegen::Stage stage, const mhcjit_pre_backward_args& args) {
  const bool phi = args.dphi != nullptr || args.dgamma != nullptr;
  const bool bias = args.dbias != nullptr || args.dalpha != nullptr;
  switch (stage) {
    case codegen::Stage::dx: return args.dx != nullptr;
    case codegen::Stage::phi_partials:
    case codegen::Stage::phi: return phi;
    case codegen::Stage::bias: return bias;
    default: return args.dx != nullptr || phi || bias;
  }
}

}  // namespace mhcjit::runtime
