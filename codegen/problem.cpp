#include "codegen/problem.h"

#include <array>
#include <charconv>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr std::array<std::string_view, 2> op_names = {"pre_forward", "pre_backward"};
constexpr std::array<std::string_view, 3> dtype_names = {"bf16", "fp16", "fp32"};

template <typename Enum, std::size_t count>
llvm::Expected<Enum> parse_name(const std::array<std::string_view, count>& names, std::string_view text,
                                std::string_view argument) {
  for (std::size_t i = 0; i < count; ++i)
    if (names[i] == text) return static_cast<Enum>(i);
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: {}", argument, text, fmt::join(names, ", "));
}

}  // namespace

std::string_view to_string(Op op) { return op_names[static_cast<int>(op)]; }
std::string_view to_string(DType dtype) { return dtype_names[static_cast<int>(dtype)]; }
llvm::Expected<Op> parse_op(std::string_view text) { return parse_name<Op>(op_names, text, "op"); }
llvm::Expected<DType> parse_dtype(std::string_view text) { return parse_name<DType>(dtype_names, text, "dtype"); }
int bytes_of(DType dtype) { return dtype == DType::fp32 ? 4 : 2; }

std::string to_string(const Architecture& architecture) {
  std::string text = fmt::format("sm_{}{}", architecture.major, architecture.minor);
  if (architecture.suffix != 0) text += architecture.suffix;
  return text;
}

llvm::Expected<Architecture> parse_architecture(std::string_view text) {
  std::string_view digits = text;
  Architecture architecture;
  int number = 0;
  bool valid = digits.starts_with("sm_");
  if (valid) {
    digits.remove_prefix(3);
    if (digits.ends_with('a') || digits.ends_with('f')) {
      architecture.suffix = digits.back();
      digits.remove_suffix(1);
    }
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    valid = error == std::errc() && end == digits.data() + digits.size() && digits.size() >= 2 && digits.size() <= 3;
  }
  if (!valid || number < 80)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                      "architecture is '{}', allowed: sm_80 and newer, such as sm_80, sm_89, sm_90a, sm_100a, sm_120a",
                      text);
  architecture.major = number / 10;
  architecture.minor = number % 10;
  return architecture;
}

Architecture architecture_of_device(int major, int minor) { return {major, minor, major >= 9 ? 'a' : '\0'}; }

llvm::hash_code hash_value(const Problem& problem) {
  const Architecture& architecture = problem.architecture;
  return llvm::hash_combine(problem.op, problem.n, problem.d, problem.dtype, problem.has_gamma, problem.batch_invariant,
                            architecture.major, architecture.minor, architecture.suffix);
}

std::string to_string(const Problem& problem) {
  return fmt::format("{} n={} D={} {}{}{} {}", to_string(problem.op), problem.n, problem.d, to_string(problem.dtype),
                     problem.has_gamma ? " gamma" : "", problem.batch_invariant ? " batch_invariant" : "",
                     to_string(problem.architecture));
}

llvm::Error check(const Problem& problem) {
  if (problem.n < 1 || problem.n > max_n)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "n is {}, allowed: 1 to {}", problem.n, max_n);
  if (problem.d < 1 || problem.d > max_d)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "D is {}, allowed: 1 to {}", problem.d, max_d);
  return llvm::Error::success();
}

llvm::Expected<Problem> from_public(const mhcjit_problem& problem, const Architecture& architecture) {
  const auto flag = [](std::string_view name, std::int32_t value) -> llvm::Error {
    if (value == 0 || value == 1) return llvm::Error::success();
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is {}, allowed: 0 and 1", name, value);
  };
  const int op = static_cast<int>(problem.op);
  if (op < 0 || op >= static_cast<int>(op_names.size()))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "op is {}, allowed: 0 (pre_forward) and 1 (pre_backward)", op);
  const int dtype = static_cast<int>(problem.dtype);
  if (dtype < 0 || dtype >= static_cast<int>(dtype_names.size()))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "dtype is {}, allowed: 0 (bf16), 1 (fp16) and 2 (fp32)", dtype);
  if (auto error = flag("has_gamma", problem.has_gamma)) return error;
  if (auto error = flag("batch_invariant", problem.batch_invariant)) return error;
  const Problem asked = {
      static_cast<Op>(op),          problem.n,   problem.d, static_cast<DType>(dtype), problem.has_gamma != 0,
      problem.batch_invariant != 0, architecture};
  if (auto error = check(asked)) return error;
  return asked;
}

}  // namespace mhcjit::codegen
