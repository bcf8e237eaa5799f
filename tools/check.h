// A run's outputs against the float64 oracle on the same inputs.
#pragma once

#include <string>
#include <vector>

#include "oracle/compare.h"
#include "tools/run_operator.h"

namespace mhcjit::tools {

struct CheckRow {
  std::string tensor;
  oracle::Comparison comparison;
};

// One row for each output. Cost: float64 on every core, about 10 bytes of memory for each byte of the inputs.
std::vector<CheckRow> check_outputs(const RunInputs& inputs, const RunOptions& options,
                                    const std::vector<OutputTensor>& outputs);

}  // namespace mhcjit::tools
