#include "codegen/vectors.h"

#include <algorithm>
#include <bit>

#include "codegen/divide_up.h"

namespace mhcjit::codegen {

int vec_size_of(const Problem& problem) {
  const std::int64_t widest = 16 / bytes_of(problem.dtype);
  return static_cast<int>(std::min(widest, problem.d & -problem.d));
}

int most_threads_per_token(const Problem& problem, int vec_size, int threads_per_block) {
  const std::int64_t vectors = problem.d / vec_size;
  const auto one_each = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(vectors)));
  return static_cast<int>(std::clamp<std::int64_t>(one_each, warp_size, threads_per_block));
}

int threads_per_token_of(const Problem& problem, int vec_size, int threads_per_block) {
  const std::int64_t vectors = problem.d / vec_size;
  const std::int64_t most = most_threads_per_token(problem, vec_size, threads_per_block);
  // Threads that the last step through a stream leaves idle cost more than the smaller group: 64 threads for 320
  // vectors, not 256.
  const auto busy = [&](std::int64_t threads) {
    const std::int64_t steps = divide_up(vectors, threads);
    return static_cast<double>(vectors) / static_cast<double>(steps * threads);
  };
  constexpr double worth_it = 1.1;
  std::int64_t best = most;
  for (std::int64_t threads = most / 2; threads >= warp_size; threads /= 2)
    if (busy(threads) > worth_it * busy(best)) best = threads;
  return static_cast<int>(best);
}

}  // namespace mhcjit::codegen
