#include "runtime/arguments.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

constexpr int workspace_alignment = 16;

template <typename T>
T member(const void* args, std::size_t offset) {
  T value;
  std::memcpy(&value, static_cast<const std::byte*>(args) + offset, sizeof value);
  return value;
}

bool is_aligned(const void* pointer, int alignment) {
  return (reinterpret_cast<std::uintptr_t>(pointer) & static_cast<std::uintptr_t>(alignment - 1)) == 0;
}

llvm::Error misaligned(std::string_view operator_name, std::string_view name, const void* pointer, int alignment) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return make_error(MHCJIT_ERROR_MISALIGNED_POINTER,
                    "{}: {} is {}, a multiple of {} bytes; it must be a multiple of {}: pass the start of an "
                    "allocation or of a row",
                    operator_name, name, fmt::ptr(pointer), std::uintptr_t{1} << std::countr_zero(address), alignment);
}

llvm::Error refused(std::string_view operator_name, const ArgumentTable::Tensor& tensor, const void* pointer,
                    std::int64_t T) {
  const codegen::Tensor& declared = *tensor.declared;
  if (pointer == nullptr)
    return make_error(MHCJIT_ERROR_NULL_POINTER, "{}: {} is NULL with T = {}; pass the tensor", operator_name,
                      declared.name, T);
  if (tensor.exists) return misaligned(operator_name, declared.name, pointer, tensor.alignment);
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "{}: {} is {}, allowed: NULL, because the problem has no {}; pass NULL, or prepare the problem "
                    "with has_{} = 1",
                    operator_name, declared.name, fmt::ptr(pointer), declared.option->name, declared.option->name);
}

}  // namespace

ArgumentTable::ArgumentTable(const codegen::Problem& problem) : op_(*problem.op) {
  for (const codegen::Tensor& tensor : op_.tensors)
    tensors_.push_back({&tensor, tensor.offset, alignment_of(tensor, problem), tensor.exists(problem),
                        tensor.is_required() && tensor.exists(problem), tensor.is_output()});
  for (const codegen::Scalar& scalar : op_.scalars)
    if (scalar.name == "overlap_previous") overlap_ = &scalar;
}

std::int64_t ArgumentTable::tokens(const void* args) const { return member<std::int64_t>(args, op_.arguments.tokens); }

const void* ArgumentTable::workspace(const void* args) const {
  return member<const void*>(args, op_.arguments.workspace);
}

std::size_t ArgumentTable::workspace_bytes(const void* args) const {
  return member<std::size_t>(args, op_.arguments.workspace_bytes);
}

bool ArgumentTable::overlaps_previous(const void* args) const {
  return overlap_ != nullptr && member<std::int32_t>(args, overlap_->offset) != 0;
}

std::int32_t ArgumentTable::flag(const void* args, std::string_view name) const {
  for (const codegen::Scalar& scalar : op_.scalars)
    if (scalar.name == name) return member<std::int32_t>(args, scalar.offset);
  return 0;
}

llvm::Error ArgumentTable::check(std::string_view operator_name, const void* args, std::size_t needed) const {
  if (auto error = check_scalars(operator_name, args)) return error;
  if (auto error = check_tensors(operator_name, args)) return error;
  return check_workspace(operator_name, args, needed);
}

llvm::Error ArgumentTable::check_scalars(std::string_view operator_name, const void* args) const {
  for (const codegen::Scalar& scalar : op_.scalars) {
    if (!scalar.is_float()) {
      const auto value = member<std::int32_t>(args, scalar.offset);
      const bool is_flag = scalar.kind == codegen::ScalarKind::flag;
      if (value == 0 || (value == 1 && is_flag)) continue;
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: {} is {}, allowed: 0{}", operator_name, scalar.name, value,
                        is_flag ? " and 1" : "; begin with the struct's initialiser, or use a newer library");
    }
    const auto value = member<float>(args, scalar.offset);
    const bool is_epsilon = scalar.kind == codegen::ScalarKind::epsilon;
    if (std::isfinite(value) && (value >= 0 || !is_epsilon)) continue;
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: {} is {}, allowed: finite{} is usual", operator_name,
                      scalar.name, value, is_epsilon ? " and not negative; 1e-6" : "; 2");
  }
  return llvm::Error::success();
}

llvm::Error ArgumentTable::check_tensors(std::string_view operator_name, const void* args) const {
  const std::int64_t T = tokens(args);
  for (const Tensor& tensor : tensors_) {
    const void* pointer = tensor.pointer(args);
    const bool is_right =
        pointer == nullptr ? !tensor.is_required || T == 0 : tensor.exists && is_aligned(pointer, tensor.alignment);
    if (!is_right) [[unlikely]]
      return refused(operator_name, tensor, pointer, T);
  }
  return llvm::Error::success();
}

llvm::Error ArgumentTable::check_workspace(std::string_view operator_name, const void* args, std::size_t needed) const {
  const void* pointer = workspace(args);
  if (!is_aligned(pointer, workspace_alignment)) [[unlikely]]
    return misaligned(operator_name, "workspace", pointer, workspace_alignment);
  if (needed == 0) return llvm::Error::success();
  const std::int64_t T = tokens(args);
  if (workspace_bytes(args) < needed)
    return make_error(MHCJIT_ERROR_WORKSPACE_TOO_SMALL,
                      "{}: workspace_bytes is {}, but T = {} needs at least {}: ask mhcjit_workspace_bytes",
                      operator_name, workspace_bytes(args), T, needed);
  if (pointer == nullptr)
    return make_error(MHCJIT_ERROR_NULL_POINTER, "{}: workspace is NULL, but T = {} needs {} bytes; pass that much",
                      operator_name, T, needed);
  return llvm::Error::success();
}

void ArgumentTable::fill_kernel_arguments(const void* args, std::byte* kernel_arguments) const {
  const auto put = [&](std::size_t to, std::size_t from, std::size_t bytes) {
    std::memcpy(kernel_arguments + to, static_cast<const std::byte*>(args) + from, bytes);
  };
  for (const codegen::Tensor& tensor : op_.tensors) put(tensor.kernel_offset, tensor.offset, sizeof(void*));
  put(op_.arguments.kernel_tokens, op_.arguments.tokens, sizeof(std::int64_t));
  for (const codegen::Scalar& scalar : op_.scalars)
    if (scalar.kernel_offset != codegen::Scalar::of_launch) put(scalar.kernel_offset, scalar.offset, 4);
}

llvm::Error check_tokens(std::string_view operator_name, std::int64_t T) {
  if (T >= 0 && T <= codegen::max_tokens) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: T is {}, allowed: 0 to {}", operator_name, T,
                    codegen::max_tokens);
}

}  // namespace mhcjit::runtime
