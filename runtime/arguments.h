// A call's public argument struct, seen through its operator's table: checks that need no device, which the CPU and the
// GPU path share, and what kernels are launched with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/operator.h"

namespace mhcjit::runtime {

// The offsets, sizes and rules of one prepared problem's arguments, which each call would otherwise work out anew.
class ArgumentTable {
 public:
  explicit ArgumentTable(const codegen::Problem& problem);

  struct Tensor {
    const codegen::Tensor* declared;
    std::size_t offset;  // of its pointer
    int alignment;       // in bytes, a power of two
    bool exists;         // else it must be NULL
    bool is_required;
    bool is_output;

    const void* pointer(const void* args) const {
      const void* value = nullptr;
      std::memcpy(&value, static_cast<const std::byte*>(args) + offset, sizeof value);
      return value;
    }
  };

  const codegen::Operator& op() const { return op_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }

  std::int64_t tokens(const void* args) const;
  const void* workspace(const void* args) const;
  std::size_t workspace_bytes(const void* args) const;
  // True if the call may begin before the kernel before it in the stream has ended.
  bool overlaps_previous(const void* args) const;
  // The value of a scalar that is a flag, by name; 0 where the operator has no such scalar.
  std::int32_t flag(const void* args, std::string_view name) const;

  // Success, or the first argument that is wrong: INVALID_ARGUMENT, NULL_POINTER, MISALIGNED_POINTER,
  // WORKSPACE_TOO_SMALL. `args` has passed check_tokens(). With T == 0 no pointer is required: an empty tensor has
  // none. `operator_name` begins the text of every error here: "OPERATOR n=4 D=4096 ...".
  llvm::Error check(std::string_view operator_name, const void* args, std::size_t needed_workspace_bytes) const;

  // Writes what kernels are launched with: arguments.kernel_bytes of the operator.
  void fill_kernel_arguments(const void* args, std::byte* kernel_arguments) const;

 private:
  llvm::Error check_scalars(std::string_view operator_name, const void* args) const;
  llvm::Error check_tensors(std::string_view operator_name, const void* args) const;
  llvm::Error check_workspace(std::string_view operator_name, const void* args, std::size_t needed) const;

  const codegen::Operator& op_;
  std::vector<Tensor> tensors_;
  const codegen::Scalar* overlap_ = nullptr;
};

// Success, or INVALID_ARGUMENT.
llvm::Error check_tokens(std::string_view operator_name, std::int64_t T);

}  // namespace mhcjit::runtime
