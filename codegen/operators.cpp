#include "codegen/operators.h"

#include <array>
#include <vector>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

constexpr std::array<const Operator*, 2> list = {&pre_forward, &pre_backward};

}  // namespace

std::span<const Operator* const> operators() { return list; }

llvm::Expected<const Operator*> operator_of(mhcjit_op id) {
  std::vector<std::string> allowed;
  for (const Operator* op : list) {
    if (op->id == id) return op;
    allowed.push_back(fmt::format("{} ({})", static_cast<int>(op->id), op->name));
  }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "op is {}, allowed: {}", static_cast<int>(id),
                    fmt::join(allowed, ", "));
}

llvm::Expected<const Operator*> parse_operator(std::string_view name) {
  for (const Operator* op : list)
    if (op->name == name) return op;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "op is '{}', allowed: {}", name, operator_names());
}

std::string operator_names() {
  std::vector<std::string_view> names;
  for (const Operator* op : list) names.push_back(op->name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string operator_names(bool Problem::* dtype_flag) {
  std::vector<std::string_view> names;
  for (const Operator* op : list)
    if (op->has_dtype_flag(dtype_flag)) names.push_back(op->name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace mhcjit::codegen
