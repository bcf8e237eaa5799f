#include "codegen/problem.h"

#include <array>

#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr std::array<std::string_view, 3> dtype_names = {"bf16", "fp16", "fp32"};

}  // namespace

std::string_view to_string(DType dtype) { return dtype_names[static_cast<int>(dtype)]; }

llvm::Expected<DType> parse_dtype(std::string_view text) {
  for (std::size_t i = 0; i < dtype_names.size(); ++i)
    if (dtype_names[i] == text) return static_cast<DType>(i);
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "dtype is '{}', allowed: {}", text, fmt::join(dtype_names, ", "));
}

llvm::hash_code hash_value(const Problem& problem) {
  const Architecture& architecture = problem.architecture;
  return llvm::hash_combine(problem.op, problem.n, problem.d, problem.dtype, problem.has_gamma, problem.batch_invariant,
                            architecture.major, architecture.minor, architecture.suffix, problem.has_fp32_dx);
}

std::string to_string(const Problem& problem) {
  return fmt::format("{} n={} D={} {}{}{}{} {}", problem.op->name, problem.n, problem.d, to_string(problem.dtype),
                     problem.has_gamma ? " gamma" : "", problem.batch_invariant ? " batch_invariant" : "",
                     problem.has_fp32_dx ? " fp32_dx" : "", to_string(problem.architecture));
}

std::string to_string(const SizedProblem& sized) {
  return fmt::format("{} T={}", to_string(sized.problem), sized.tokens);
}

llvm::Error check(const Problem& problem) {
  if (problem.n < 1 || problem.n > max_n)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "n is {}, allowed: 1 to {}", problem.n, max_n);
  if (problem.d < 1 || problem.d > max_d)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "D is {}, allowed: 1 to {}", problem.d, max_d);
  if (problem.has_fp32_dx && !problem.op->has_dtype_flag(&Problem::has_fp32_dx))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "fp32_dx is 1, allowed: 0 for {}, which has no dx",
                      problem.op->name);
  return llvm::Error::success();
}

llvm::Expected<Problem> from_public(const mhcjit_problem& problem, const Architecture& architecture) {
  const auto flag = [](std::string_view name, std::int32_t value) -> llvm::Error {
    if (value == 0 || value == 1) return llvm::Error::success();
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is {}, allowed: 0 and 1", name, value);
  };
  auto op = operator_of(problem.op);
  if (!op) return op.takeError();
  const int dtype = static_cast<int>(problem.dtype);
  if (dtype < 0 || dtype >= static_cast<int>(dtype_names.size()))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "dtype is {}, allowed: 0 (bf16), 1 (fp16) and 2 (fp32)", dtype);
  if (auto error = flag("has_gamma", problem.has_gamma)) return error;
  if (auto error = flag("batch_invariant", problem.batch_invariant)) return error;
  if (auto error = flag("fp32_dx", problem.fp32_dx)) return error;
  const Problem asked = {*op,
                         problem.n,
                         problem.d,
                         static_cast<DType>(dtype),
                         problem.has_gamma != 0,
                         problem.batch_invariant != 0,
                         architecture,
                         problem.fp32_dx != 0};
  if (auto error = check(asked)) return error;
  return asked;
}

mhcjit_problem to_public(const Problem& problem) {
  return {.op = problem.op->id,
          .n = problem.n,
          .d = problem.d,
          .dtype = static_cast<mhcjit_dtype>(problem.dtype),
          .has_gamma = problem.has_gamma ? 1 : 0,
          .batch_invariant = problem.batch_invariant ? 1 : 0,
          .fp32_dx = problem.has_fp32_dx ? 1 : 0};
}

}  // namespace mhcjit::codegen
