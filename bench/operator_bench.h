// One operator on one shape: time, bandwidth, distance to the floor, error.
#pragma once

#include <string>

#include "bench/accuracy.h"
#include "bench/timing.h"

namespace mhcjit::bench {

// All measurements of a run share this.
struct Run {
  const gpu::Gpu& gpu;
  mhcjit_engine* engine;
  double copy_gigabytes_per_second;
  double seconds;  // about how long each timing takes
};

struct OperatorResult {
  std::size_t bytes = 0;  // of the floor
  double floor_us = 0.0;  // the time of a plain copy that moves as many
  int input_sets = 0;     // that cold launches rotate among
  Timing brief;           // replayed from a graph for a moment after a rest: before a power limit slows the clocks
  Timing stream;          // ordinary launches, the L2 cache cold
  Timing graph;           // the same, replayed from a graph
  Timing stream_warm;     // ordinary launches on one input set
  Timing graph_warm;
  Timing graph_overlapped;  // a graph of calls each of which may begin before the one before it has ended
  Errors errors;
};

// Throws std::runtime_error with what failed.
OperatorResult bench_operator(const Run& run, const codegen::Problem& problem, std::int64_t tokens);

}  // namespace mhcjit::bench
