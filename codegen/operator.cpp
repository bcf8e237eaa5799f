#include "codegen/operator.h"

#include <algorithm>

#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringRef.h>

namespace mhcjit::codegen {
namespace {

std::int64_t extent(llvm::StringRef name, const Problem& problem, std::int64_t tokens) {
  if (name == "T") return tokens;
  if (name == "n") return problem.n;
  if (name == "D") return problem.d;
  if (name == "M") return problem.rows();
  std::int64_t number = 0;
  name.getAsInteger(10, number);
  return number;
}

}  // namespace

std::int64_t elements(const Tensor& tensor, const Problem& problem, std::int64_t tokens) {
  if (!tensor.exists(problem)) return 0;
  std::int64_t count = 1;
  for (const llvm::StringRef name : llvm::split(llvm::StringRef(tensor.shape), ' '))
    count *= extent(name, problem, tokens);
  return count;
}

int alignment_of(const Tensor& tensor, const Problem& problem) {
  constexpr std::int64_t widest_load = 16;
  constexpr int element = 4;
  if (!tensor.shape.ends_with("D")) return element;
  const std::int64_t row_bytes = problem.d * bytes_of(tensor.dtype(problem));
  return static_cast<int>(std::min(widest_load, row_bytes & -row_bytes));
}

const Tensor* Operator::find_tensor(std::string_view wanted) const {
  const auto found = std::ranges::find(tensors, wanted, &Tensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

bool Operator::has_dtype_flag(bool Problem::* flag) const {
  return std::ranges::find(tensors, flag, &Tensor::fp32_flag) != tensors.end();
}

}  // namespace mhcjit::codegen
