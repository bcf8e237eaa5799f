// The layers of a model behind one another: every layer's forward, then every layer's backward in the opposite order.
#pragma once

#include "bench/operator_bench.h"

namespace mhcjit::bench {

struct ChainResult {
  int layer_sets = 0;       // of tensors, which layers share in turn where memory has no room for a set each
  std::size_t bytes = 0;    // of the floors of all calls
  double floor_us = 0.0;    // the time of a plain copy that moves as many
  Timing graph;             // of the whole chain, replayed from one graph
  Timing graph_overlapped;  // each call may begin before the one before it has ended
  Errors errors;            // of backward's outputs, which the overlapped chain left
};

// `backward` is a problem of an operator that reads what another saves: that is forward. Throws std::runtime_error with
// what failed.
ChainResult bench_chain(const Run& run, const codegen::Problem& backward, std::int64_t tokens, int layers);

}  // namespace mhcjit::bench
