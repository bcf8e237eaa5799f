#include "codegen/vectors.h"

#include <algorithm>
#include <bit>

namespace mhcjit::codegen {

int vec_size_of(const Problem& problem) {
  const std::int64_t widest = 16 / bytes_of(problem.dtype);
  return static_cast<int>(std::min(widest, problem.d & -problem.d));
}

int threads_per_token_of(const Problem& problem, int vec_size, int threads_per_block) {
  constexpr std::uint64_t warp_size = 32;
  const auto vectors = static_cast<std::uint64_t>(problem.d / vec_size);
  return static_cast<int>(std::clamp<std::uint64_t>(std::bit_ceil(vectors), warp_size, threads_per_block));
}

}  // namespace mhcjit::codegen
