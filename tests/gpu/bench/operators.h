// Forward and backward on one shape: time, bandwidth, distance to the floor, error.
//
// The floor is the least that device memory must move: every input read once and every output written once, the saved
// intermediates among them, at the bandwidth of a plain copy in the same run.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bench/timing.h"

namespace mhcjit::gpu {

struct BenchShape {
  std::int64_t T;
  std::int64_t D;
};

struct OperatorResult {
  std::string op;
  BenchShape shape;
  std::size_t bytes = 0;  // of the floor
  double floor_us = 0.0;
  int input_sets = 0;                         // that launches rotate among, so that the L2 cache serves none of them
  Timing stream = {};                         // ordinary launches
  Timing graph = {};                          // the same, replayed from a graph
  Timing warm = {};                           // ordinary launches on one input set
  std::map<std::string, double> errors = {};  // of a sample of tokens, by tensor
  bool errors_within_bounds = true;

  double floor_ratio() const { return stream.median_us / floor_us; }
  double gigabytes_per_second() const { return static_cast<double>(bytes) / stream.median_us * 1e-3; }
};

// A device-to-device copy of 1 GiB, in bytes read plus bytes written for each second, in units of 1e9.
double copy_gigabytes_per_second(const Gpu& gpu, double seconds);

// Forward, then backward; n = 4, bf16, no gamma.
std::vector<OperatorResult> bench_operators(const Gpu& gpu, const BenchShape& shape, double copy_gigabytes_per_second,
                                            double seconds);

}  // namespace mhcjit::gpu
