// Forward and backward of one set of inputs, through the public C interface.
#pragma once

#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "tools/device_tensor.h"
#include "tools/run_inputs.h"

namespace mhcjit::tools {

struct RunOptions {
  Placement placement;
  bool backward = false;
  float norm_eps = 1e-6f;
  float hc_eps = 1e-6f;
  float post_mult = MHCJIT_DEFAULT_POST_MULT;
  std::string cache_dir;  // "": the default folder
  bool fp32_dx = false;   // dx is fp32 whatever x's dtype is
};

struct OutputTensor {
  std::string name;  // as in mhcjit/mhcjit.h
  mhcjit_dtype dtype = MHCJIT_FP32;
  std::vector<std::int64_t> shape;
  HostBuffer values;
};

struct RunResult {
  std::vector<OutputTensor> outputs;
  mhcjit_counters counters = {};
  double prepare_ms = 0;  // finding or compiling the kernels, and loading them
};

// Errors: those of mhcjit_prepare and of the operators' functions, and OUT_OF_MEMORY.
llvm::Expected<RunResult> run_operator(const RunInputs& inputs, const RunOptions& options);

}  // namespace mhcjit::tools
