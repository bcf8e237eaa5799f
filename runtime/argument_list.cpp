#include "runtime/argument_list.h"

#include <algorithm>

#include "codegen/operator.h"

namespace mhcjit::runtime {
namespace {

mhcjit_role role_of(codegen::Role role) {
  switch (role) {
    case codegen::Role::input: return MHCJIT_INPUT;
    case codegen::Role::optional_input: return MHCJIT_OPTIONAL_INPUT;
    case codegen::Role::output: return MHCJIT_OUTPUT;
    case codegen::Role::optional_output: break;
  }
  return MHCJIT_OPTIONAL_OUTPUT;
}

// The tables' texts are literals, which end with a zero.
mhcjit_argument argument(std::string_view name, std::size_t offset, mhcjit_argument_kind kind) {
  mhcjit_argument made = {};
  made.name = name.data();
  made.offset = offset;
  made.kind = kind;
  return made;
}

mhcjit_argument argument(const codegen::Tensor& tensor, const codegen::Problem& problem) {
  mhcjit_argument made = argument(tensor.name, tensor.offset, MHCJIT_ARGUMENT_TENSOR);
  made.exists = tensor.exists(problem) ? 1 : 0;
  made.shape = tensor.shape.data();
  made.role = role_of(tensor.role);
  made.dtype = static_cast<mhcjit_dtype>(tensor.dtype(problem));
  made.alignment = static_cast<std::size_t>(codegen::alignment_of(tensor, problem));
  if (!tensor.accumulate_flag.empty()) made.accumulate_flag = tensor.accumulate_flag.data();
  return made;
}

}  // namespace

std::vector<mhcjit_argument> argument_list(const codegen::Problem& problem) {
  const codegen::Operator& op = *problem.op;
  std::vector<mhcjit_argument> list = {
      argument("struct_size", 0, MHCJIT_ARGUMENT_SIZE),
      argument("T", op.arguments.tokens, MHCJIT_ARGUMENT_INT64),
      argument("workspace", op.arguments.workspace, MHCJIT_ARGUMENT_ADDRESS),
      argument("workspace_bytes", op.arguments.workspace_bytes, MHCJIT_ARGUMENT_SIZE),
  };
  for (const codegen::Tensor& tensor : op.tensors) list.push_back(argument(tensor, problem));
  for (const codegen::Scalar& scalar : op.scalars)
    list.push_back(
        argument(scalar.name, scalar.offset, scalar.is_float() ? MHCJIT_ARGUMENT_FLOAT : MHCJIT_ARGUMENT_INT32));
  std::ranges::sort(list, {}, &mhcjit_argument::offset);
  return list;
}

}  // namespace mhcjit::runtime
