#include "runtime/arguments.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "support/error.h"

namespace mhcjit::runtime {
namespace {

constexpr int largest_alignment = 16;
constexpr int scalar_alignment = 4;

// Every row of the tensor then begins at a multiple of it, so that one load width serves all rows.
int row_alignment(std::int64_t row_bytes) {
  return static_cast<int>(std::min<std::int64_t>(largest_alignment, row_bytes & -row_bytes));
}

int element_row_alignment(const codegen::Problem& problem) {
  return row_alignment(problem.d * codegen::bytes_of(problem.dtype));
}

int float_row_alignment(const codegen::Problem& problem) { return row_alignment(problem.d * 4); }

llvm::Error check_epsilon(const Call& call, std::string_view name, float value) {
  if (std::isfinite(value) && value >= 0) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: {} is {}, allowed: finite and not negative; 1e-6 is usual",
                    call.operator_name, name, value);
}

llvm::Error check_post_mult(const Call& call, float value) {
  if (std::isfinite(value)) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: post_mult is {}, allowed: finite; 2 is usual",
                    call.operator_name, value);
}

llvm::Error check_flag(const Call& call, std::string_view name, std::int32_t value) {
  if (value == 0 || value == 1) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: {} is {}, allowed: 0 and 1", call.operator_name, name, value);
}

llvm::Error check_unused(const Call& call, std::string_view name, const void* pointer) {
  if (call.problem.has_gamma || pointer == nullptr) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "{}: {} is {}, allowed: NULL, because the problem has no gamma; pass NULL, or prepare the problem "
                    "with has_gamma = 1",
                    call.operator_name, name, fmt::ptr(pointer));
}

llvm::Error check_tensors(const Call& call, std::int64_t T, const TensorArguments& tensors) {
  for (const TensorArgument& tensor : tensors) {
    if (tensor.pointer == nullptr) {
      if (!tensor.required || T == 0) continue;
      return make_error(MHCJIT_ERROR_NULL_POINTER, "{}: {} is NULL with T = {}; pass the tensor", call.operator_name,
                        tensor.name, T);
    }
    const auto address = reinterpret_cast<std::uintptr_t>(tensor.pointer);
    if (address % tensor.alignment == 0) continue;
    return make_error(MHCJIT_ERROR_MISALIGNED_POINTER,
                      "{}: {} is {}, a multiple of {} bytes; it must be a multiple of {}: pass the start of an "
                      "allocation or of a row",
                      call.operator_name, tensor.name, fmt::ptr(tensor.pointer),
                      std::uintptr_t{1} << std::countr_zero(address), tensor.alignment);
  }
  return llvm::Error::success();
}

template <typename Args>
llvm::Error check_workspace(const Call& call, const Args& args) {
  if (call.workspace_bytes == 0) return llvm::Error::success();
  if (args.workspace_bytes < call.workspace_bytes)
    return make_error(MHCJIT_ERROR_WORKSPACE_TOO_SMALL,
                      "{}: workspace_bytes is {}, but T = {} needs at least {}: ask mhcjit_workspace_bytes",
                      call.operator_name, args.workspace_bytes, args.T, call.workspace_bytes);
  if (args.workspace == nullptr)
    return make_error(MHCJIT_ERROR_NULL_POINTER, "{}: workspace is NULL, but T = {} needs {} bytes; pass that much",
                      call.operator_name, args.T, call.workspace_bytes);
  return llvm::Error::success();
}

}  // namespace

TensorArguments tensor_arguments(const codegen::Problem& problem, const mhcjit_pre_forward_args& args) {
  const int element_row = element_row_alignment(problem);
  const int float_row = float_row_alignment(problem);
  return {
      {"x", args.x, element_row, true},
      {"phi", args.phi, float_row, true},
      {"alpha", args.alpha, scalar_alignment, true},
      {"bias", args.bias, scalar_alignment, true},
      {"gamma", args.gamma, float_row, problem.has_gamma},
      {"h_in", args.h_in, element_row, true},
      {"h_post", args.h_post, scalar_alignment, true},
      {"h_res", args.h_res, scalar_alignment, true},
      {"inv_rms", args.inv_rms, scalar_alignment, false},
      {"h_mix", args.h_mix, scalar_alignment, false},
      {"h_pre", args.h_pre, scalar_alignment, false},
      {"workspace", args.workspace, largest_alignment, false},
  };
}

TensorArguments tensor_arguments(const codegen::Problem& problem, const mhcjit_pre_backward_args& args) {
  const int element_row = element_row_alignment(problem);
  const int float_row = float_row_alignment(problem);
  return {
      {"x", args.x, element_row, true},
      {"phi", args.phi, float_row, true},
      {"alpha", args.alpha, scalar_alignment, true},
      {"gamma", args.gamma, float_row, problem.has_gamma},
      {"inv_rms", args.inv_rms, scalar_alignment, true},
      {"h_mix", args.h_mix, scalar_alignment, true},
      {"h_pre", args.h_pre, scalar_alignment, true},
      {"h_post", args.h_post, scalar_alignment, true},
      {"dh_in", args.dh_in, element_row, false},
      {"dh_post", args.dh_post, scalar_alignment, false},
      {"dh_res", args.dh_res, scalar_alignment, false},
      {"dx", args.dx, element_row, false},
      {"dphi", args.dphi, float_row, false},
      {"dgamma", args.dgamma, float_row, false},
      {"dalpha", args.dalpha, scalar_alignment, false},
      {"dbias", args.dbias, scalar_alignment, false},
      {"workspace", args.workspace, largest_alignment, false},
  };
}

llvm::Error check_tokens(std::string_view operator_name, std::int64_t T) {
  if (T >= 0 && T <= codegen::max_tokens) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: T is {}, allowed: 0 to {}", operator_name, T,
                    codegen::max_tokens);
}

llvm::Error check_arguments(const Call& call, const mhcjit_pre_forward_args& args, const TensorArguments& tensors) {
  if (auto error = check_epsilon(call, "norm_eps", args.norm_eps)) return error;
  if (auto error = check_epsilon(call, "hc_eps", args.hc_eps)) return error;
  if (auto error = check_post_mult(call, args.post_mult)) return error;
  if (auto error = check_flag(call, "overlap_previous", args.overlap_previous)) return error;
  if (auto error = check_unused(call, "gamma", args.gamma)) return error;
  if (auto error = check_tensors(call, args.T, tensors)) return error;
  return check_workspace(call, args);
}

llvm::Error check_arguments(const Call& call, const mhcjit_pre_backward_args& args, const TensorArguments& tensors) {
  if (auto error = check_epsilon(call, "hc_eps", args.hc_eps)) return error;
  if (auto error = check_post_mult(call, args.post_mult)) return error;
  if (auto error = check_flag(call, "accumulate_dx", args.accumulate_dx)) return error;
  if (auto error = check_flag(call, "accumulate_parameters", args.accumulate_parameters)) return error;
  if (auto error = check_unused(call, "gamma", args.gamma)) return error;
  if (auto error = check_unused(call, "dgamma", args.dgamma)) return error;
  if (auto error = check_tensors(call, args.T, tensors)) return error;
  return check_workspace(call, args);
}

}  // namespace mhcjit::runtime
