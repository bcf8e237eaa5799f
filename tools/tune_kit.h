// `mhcjit tune` tries plans with this kit.
#pragma once

#include <string>

#include <llvm/Support/Error.h>

#include "tuning/sweep.h"

namespace mhcjit::tools {

// Returns the devices' kit; a test links another. Errors: those of tuning::device_kit().
llvm::Expected<tuning::Kit> tune_kit(const std::string& cache_dir);

}  // namespace mhcjit::tools
