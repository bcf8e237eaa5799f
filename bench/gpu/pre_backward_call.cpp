#include "bench/gpu/pre_backward_call.h"

#include "oracle/tensors.h"

namespace mhcjit::gpu {

BackwardCall::BackwardCall(const ForwardCall& forward, const Gpu& gpu, const Case& item, const mhcjit_operator* op,
                           const oracle::OutputGradients& gradients, const BackwardOptions& options)
    : Call(gpu, item, op) {
  const oracle::Values given = oracle::values_of(gradients);
  const auto use_of = [&](std::string_view output) {
    const bool accumulates = output == "dx" ? options.accumulate_dx : options.accumulate_parameters;
    return accumulates ? Use::accumulated : Use::output;
  };
  oracle::visit_tensors(item.shape(), args, [&](const oracle::Tensor& tensor, auto& pointer) {
    const char* const name = tensor.name;
    if (tensor.use == oracle::Use::output)
      oracle::point(pointer, add(name, tensor.count, use_of(name)));
    else if (forward.has(name))
      oracle::point(pointer, forward.buffer(name).as());
    else if (options.gradients_by_caller)
      oracle::point(pointer, add(name, tensor.count, Use::input));
    else if (!given.at(name).empty())
      oracle::point(pointer, add_input(name, given.at(name)));
  });
  args.T = item.shape().T;
  args.hc_eps = forward.args.hc_eps;
  args.post_mult = forward.args.post_mult;
  args.accumulate_dx = options.accumulate_dx ? 1 : 0;
  args.accumulate_parameters = options.accumulate_parameters ? 1 : 0;
  args.workspace = add_workspace(args.workspace_bytes);
}

mhcjit_status BackwardCall::run_overlapped(CUstream stream) const {
  mhcjit_pre_backward_args overlapped = args;
  overlapped.overlap_previous = 1;
  return mhcjit_pre_backward(op_, &overlapped, stream);
}

}  // namespace mhcjit::gpu
