// A problem is one operator on one shape, for one architecture.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include <llvm/ADT/Hashing.h>
#include <llvm/Support/Error.h>

#include "codegen/device.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::codegen {

struct Operator;

enum class DType { bf16, fp16, fp32 };

std::string_view to_string(DType dtype);
llvm::Expected<DType> parse_dtype(std::string_view text);
constexpr int bytes_of(DType dtype) { return dtype == DType::fp32 ? 4 : 2; }

struct Problem {
  const Operator* op = nullptr;  // one of operators.h, never null in a problem that has passed check()
  int n = 0;                     // residual streams
  std::int64_t d = 0;            // hidden size D
  DType dtype = DType::bf16;
  bool has_gamma = false;
  bool batch_invariant = false;
  Architecture architecture;
  bool has_fp32_dx = false;

  int rows() const { return n * n + 2 * n; }      // M, rows of phi
  std::int64_t columns() const { return n * d; }  // n*D, columns of phi

  auto operator<=>(const Problem&) const = default;
};

llvm::hash_code hash_value(const Problem& problem);

// "OPERATOR n=4 D=4096 bf16 gamma sm_90a": how errors and logs name a problem.
std::string to_string(const Problem& problem);

// A problem with a number of tokens.
struct SizedProblem {
  Problem problem;
  std::int64_t tokens = 0;

  auto operator<=>(const SizedProblem&) const = default;
};

// "OPERATOR n=4 D=4096 bf16 sm_90a T=8192"
std::string to_string(const SizedProblem& sized);

inline constexpr int max_n = 16;
inline constexpr std::int64_t max_d = std::int64_t{1} << 24;
inline constexpr std::int64_t max_tokens = (std::int64_t{1} << 31) - 1;

// Success, or which field is outside what is allowed.
llvm::Error check(const Problem& problem);

// The public problem on an architecture, checked.
llvm::Expected<Problem> from_public(const mhcjit_problem& problem, const Architecture& architecture);

mhcjit_problem to_public(const Problem& problem);

}  // namespace mhcjit::codegen
