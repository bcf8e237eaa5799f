#include "bench/chain.h"

#include <algorithm>

#include "bench/floor.h"

namespace mhcjit::bench {

ChainResult bench_chain(const Run& run, const codegen::Problem& backward, std::int64_t tokens, int layers) {
  const std::unique_ptr<const InputSets> made = make_input_sets(run.gpu, run.engine, backward, tokens, layers);
  const InputSets& sets = *made;
  const auto time_chain = [&](bool overlaps) {
    const Enqueue chain = [&](CUstream stream, int) {
      for (int layer = 0; layer < layers; ++layer) sets.needed()->run(layer % sets.count(), stream, overlaps);
      for (int layer = layers - 1; layer >= 0; --layer) sets.run(layer % sets.count(), stream, overlaps);
    };
    return time_graph(run.gpu, chain, 1, run.seconds);
  };
  ChainResult result;
  result.layer_sets = std::min(sets.count(), layers);
  for (const codegen::Problem& problem : needed_problems(backward))
    result.bytes += static_cast<std::size_t>(layers) * floor_bytes(problem, tokens);
  result.floor_us = static_cast<double>(result.bytes) / run.copy_gigabytes_per_second * 1e-3;
  result.graph = time_chain(false);
  result.graph_overlapped = time_chain(true);
  result.errors = check_accuracy(sets);
  return result;
}

}  // namespace mhcjit::bench
