// A run's outputs against the float64 oracle on the same inputs.
#pragma once

#include <string>
#include <vector>

#include "tools/run_operator.h"

namespace mhcjit::tools {

struct CheckRow {
  std::string tensor;
  double error = 0;  // ||output - reference|| / ||reference||; NaN when either holds a NaN or an infinity
  double bound = 0;

  // A NaN is not within any bound.
  bool ok() const { return error <= bound; }
};

// One row for each output. Cost: float64 on every core, about 10 bytes of memory for each byte of the inputs.
std::vector<CheckRow> check_outputs(const RunInputs& inputs, const RunOptions& options,
                                    const std::vector<OutputTensor>& outputs);

}  // namespace mhcjit::tools
