#include "runtime/operator.h"

#include "support/error.h"

namespace mhcjit::runtime {

llvm::Expected<std::size_t> Operator::workspace_bytes(std::int64_t T) const {
  if (auto error = check_tokens(name_, T)) return error;
  return needed_workspace(T);
}

template <typename Args>
llvm::Error Operator::check_and_launch(codegen::Op op, const Args& args, void* stream) const {
  if (problem_.op != op)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: the operator was called as {}; prepare one with op = {}",
                      name_, to_string(op), to_string(op));
  auto workspace = workspace_bytes(args.T);
  if (!workspace) return workspace.takeError();
  const TensorArguments tensors = tensor_arguments(problem_, args);
  if (auto error = check_arguments({name_, problem_, *workspace}, args, tensors)) return error;
  if (auto error = check_usable(tensors)) return error;
  return launch(args, stream);
}

llvm::Error Operator::pre_forward(const mhcjit_pre_forward_args& args, void* stream) const {
  return check_and_launch(codegen::Op::pre_forward, args, stream);
}

llvm::Error Operator::pre_backward(const mhcjit_pre_backward_args& args, void* stream) const {
  return check_and_launch(codegen::Op::pre_backward, args, stream);
}

}  // namespace mhcjit::runtime
