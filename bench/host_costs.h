// Measures the host's time for a call, for finding a prepared operator and for loading kernels, in microseconds.
#pragma once

#include "bench/gpu/gpu.h"
#include "codegen/problem.h"

namespace mhcjit::bench {

struct HostCosts {
  int kernels = 0;  // of one call
  std::size_t cubin_bytes = 0;
  double call_us = 0.0;        // of the public function
  double raw_launch_us = 0.0;  // as many cuLaunchKernelEx, of the same kernels with the same arguments
  double prepare_us = 0.0;     // mhcjit_prepare of a problem that is ready
  double load_us = 0.0;        // a cubin in memory to kernels in the current context
};

// Costs of a call of one token, of an operator that reads no other's results, for this device's architecture. Throws
// std::runtime_error with what failed.
HostCosts bench_host_costs(const gpu::Gpu& gpu, mhcjit_engine* engine, codegen::Problem problem);

}  // namespace mhcjit::bench
