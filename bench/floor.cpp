#include "bench/floor.h"

#include <algorithm>

#include "codegen/operator.h"

namespace mhcjit::bench {

std::size_t floor_bytes(const codegen::Problem& problem, std::int64_t tokens) {
  std::int64_t bytes = 0;
  for (const codegen::Tensor& tensor : problem.op->tensors)
    bytes += codegen::elements(tensor, problem, tokens) * codegen::bytes_of(tensor.dtype(problem));
  return static_cast<std::size_t>(bytes);
}

int cold_sets(std::size_t bytes, std::size_t l2_bytes) {
  constexpr std::size_t l2_caches = 4;
  constexpr std::size_t most = 512;
  return static_cast<int>(std::clamp<std::size_t>(l2_caches * l2_bytes / bytes + 1, 2, most));
}

}  // namespace mhcjit::bench
