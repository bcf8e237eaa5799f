// Measures the time of a new process until its first call has run: with an empty cache folder, and with one that has
// the kernels.
#pragma once

#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::bench {

struct FirstCall {
  double open_device_ms = 0.0;  // the driver's start and the device's context; not in first_call_ms
  double first_call_ms = 0.0;   // engine, prepare, call, until the outputs are there
  double prepare_ms = 0.0;      // of it
  double compile_ms = 0.0;      // of that, NVRTC and what opening it takes
  double load_ms = 0.0;         // of that, the driver's
};

struct FirstCalls {
  std::vector<FirstCall> cold;
  std::vector<FirstCall> warm;
};

// Times of a call of one token, of an operator that reads no other's results, each in a process of its own. For a
// process that has not used CUDA yet: its children could not. Errors: NO_DEVICE, IO (the temporary folder, the
// children), and those of mhcjit_prepare.
llvm::Expected<FirstCalls> bench_first_calls(const codegen::Problem& problem, int repeats);

}  // namespace mhcjit::bench
