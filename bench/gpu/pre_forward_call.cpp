#include "bench/gpu/pre_forward_call.h"

#include "oracle/tensors.h"

namespace mhcjit::gpu {

ForwardCall::ForwardCall(const Gpu& gpu, const Case& item, const mhcjit_operator* op, const oracle::Inputs& inputs)
    : Call(gpu, item, op) {
  const oracle::Values values = oracle::values_of(inputs);
  oracle::visit_tensors(item.shape(), args, [&](const oracle::Tensor& tensor, auto& pointer) {
    if (tensor.use == oracle::Use::output)
      oracle::point(pointer, add(tensor.name, tensor.count, Use::output));
    else if (const auto given = values.at(tensor.name); !given.empty())
      oracle::point(pointer, add_input(tensor.name, given));
    else
      oracle::point(pointer, add(tensor.name, tensor.count, Use::input));
  });
  args.T = item.shape().T;
  args.norm_eps = static_cast<float>(inputs.norm_eps);
  args.hc_eps = static_cast<float>(inputs.hc_eps);
  args.post_mult = static_cast<float>(inputs.post_mult);
  args.workspace = add_workspace(args.workspace_bytes);
}

mhcjit_status ForwardCall::run_overlapped(CUstream stream) const {
  mhcjit_pre_forward_args overlapped = args;
  overlapped.overlap_previous = 1;
  return mhcjit_pre_forward(op_, &overlapped, stream);
}

}  // namespace mhcjit::gpu
