// An operator is a table of its tensors and scalars, and a list of families that compute it. All that is generic
// follows from it: checks of arguments, the kernels' arguments, workspace, the bytes that must move, the tools.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <llvm/Support/Error.h>

#include "codegen/problem.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::codegen {

struct Family;

// A flag of the problem that decides whether a tensor exists.
struct Option {
  std::string_view name;  // "gamma"; the public field is "has_gamma"
  bool Problem::* value;
};
inline constexpr Option gamma_option = {"gamma", &Problem::has_gamma};

enum class Role { input, optional_input, output, optional_output };

struct Tensor {
  std::string_view name;
  std::string_view shape;  // "T n D", from the outermost: T, n, D, M and numbers
  Role role;
  bool has_x_dtype;                       // else fp32
  std::size_t offset;                     // of its pointer in the operator's public argument struct
  std::size_t kernel_offset;              // and in the struct that its kernels are launched with
  std::string_view accumulate_flag = {};  // the scalar that says whether the output is added to
  const Option* option = nullptr;         // the tensor is NULL where the problem does not have it
  bool Problem::* fp32_flag = nullptr;    // the flag that makes a tensor of x's dtype fp32

  bool exists(const Problem& problem) const { return option == nullptr || problem.*option->value; }
  bool is_output() const { return role == Role::output || role == Role::optional_output; }
  bool is_required() const { return role == Role::input || role == Role::output; }
  bool is_per_token() const { return shape.starts_with("T"); }
  DType dtype(const Problem& problem) const {
    const bool is_fp32 = !has_x_dtype || (fp32_flag != nullptr && problem.*fp32_flag);
    return is_fp32 ? DType::fp32 : problem.dtype;
  }
};

// How many elements a tensor has; 0 where it does not exist.
std::int64_t elements(const Tensor& tensor, const Problem& problem, std::int64_t tokens);

// The tensor's address is a multiple of this: rows that are D long are read in the widest loads that divide them.
int alignment_of(const Tensor& tensor, const Problem& problem);

enum class ScalarKind {
  epsilon,   // float: finite, not negative
  factor,    // float: finite
  flag,      // int: 0 or 1
  reserved,  // int: 0
};

struct Scalar {
  std::string_view name;
  ScalarKind kind;
  std::size_t offset;                     // in the public argument struct
  std::size_t kernel_offset = of_launch;  // in the kernels' struct; of_launch: it is not for kernels

  bool is_float() const { return kind == ScalarKind::epsilon || kind == ScalarKind::factor; }

  static constexpr std::size_t of_launch = ~std::size_t{0};
};

// The public argument struct, and the one that kernels are launched with, as far as they are alike for all operators.
struct ArgumentLayout {
  std::size_t bytes;
  std::size_t tokens;           // offset of T
  std::size_t workspace;        // offset of its pointer
  std::size_t workspace_bytes;  // offset of its size
  std::size_t kernel_bytes;
  std::size_t kernel_tokens;  // offset of T, of 64 bits
};

struct Operator {
  std::string_view name;  // of its public function, without "mhcjit_"
  mhcjit_op id;
  std::span<const Tensor> tensors;
  std::span<const Scalar> scalars;
  ArgumentLayout arguments;
  std::string_view kernel_header;     // "OPERATOR/args.cuh"
  std::string_view kernel_arguments;  // the struct in it that kernels are launched with
  std::span<const Family* const> families;

  const Tensor* find_tensor(std::string_view name) const;
  // True if the flag decides the dtype of one of its tensors.
  bool has_dtype_flag(bool Problem::* flag) const;
};

// Room for the largest.
inline constexpr std::size_t max_kernel_argument_bytes = 512;

}  // namespace mhcjit::codegen
