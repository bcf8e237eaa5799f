// Checks of a call's arguments that need no device: what is required, ranges, alignment, workspace. The CPU and the GPU
// path share them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <llvm/ADT/SmallVector.h>
#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::runtime {

struct TensorArgument {
  const char* name;
  const void* pointer;
  int alignment;  // in bytes
  bool required;
};

// The pointers of one call; lives on the stack.
using TensorArguments = llvm::SmallVector<TensorArgument, 20>;

TensorArguments tensor_arguments(const codegen::Problem& problem, const mhcjit_pre_forward_args& args);
TensorArguments tensor_arguments(const codegen::Problem& problem, const mhcjit_pre_backward_args& args);

// Success, or INVALID_ARGUMENT. `operator_name` begins the text of every error here: "pre_forward n=4 D=4096 ...".
llvm::Error check_tokens(std::string_view operator_name, std::int64_t T);

// What a call is checked against.
struct Call {
  std::string_view operator_name;
  const codegen::Problem& problem;
  std::size_t workspace_bytes;  // that it needs
};

// Success, or the first argument that is wrong: INVALID_ARGUMENT, NULL_POINTER, MISALIGNED_POINTER,
// WORKSPACE_TOO_SMALL. `tensors` are those of `args`, whose T has passed check_tokens(). With T == 0 no pointer is
// required: an empty tensor has none.
llvm::Error check_arguments(const Call& call, const mhcjit_pre_forward_args& args, const TensorArguments& tensors);
llvm::Error check_arguments(const Call& call, const mhcjit_pre_backward_args& args, const TensorArguments& tensors);

}  // namespace mhcjit::runtime
