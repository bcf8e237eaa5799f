// A record as Kernel Tuner and the tools beside it read results: the T4 format, version 1.0.0.
#pragma once

#include <llvm/Support/JSON.h>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// One result for each plan at each T of each problem, in the order of their first trials. `configuration` has the
// problem and T beside the plan's family and parameters, so that one object holds a record of many problems.
llvm::json::Object kernel_tuner_results(const codegen::TunedRecord& record);

}  // namespace mhcjit::tuning
