// Runs plans on a real device.
#pragma once

#include <string>

#include "tuning/sweep.h"

namespace mhcjit::tuning {

// Kernels go through the cache folder `cache_dir`. Only the processes of the sweep use CUDA. Errors: INVALID_ARGUMENT
// (the environment's settings).
llvm::Expected<Kit> device_kit(const std::string& cache_dir);

}  // namespace mhcjit::tuning
