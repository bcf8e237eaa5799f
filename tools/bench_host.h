// Rows of `mhcjit bench --host`: the host's part of a call, of loading kernels and of a process's first call.
#pragma once

#include "bench/first_call.h"
#include "bench/gpu/gpu.h"
#include "support/error.h"
#include "tools/bench_rows.h"

namespace mhcjit::tools {

struct FirstCallsOrFailure {
  bench::FirstCalls calls;
  Failure failure;  // of what was not measured
};

// For a process that has not used CUDA yet. NO_DEVICE is among the failures.
FirstCallsOrFailure measure_first_calls(int repeats);

// The rest, and both as one object.
BenchRow measure_host(const gpu::Gpu& gpu, mhcjit_engine* engine, const FirstCallsOrFailure& first_calls);

}  // namespace mhcjit::tools
