// Plans on a real device.
#pragma once

#include <string>

#include "tuning/sweep.h"

namespace mhcjit::tuning {

// The kernels of `cache_dir`, into which the compiler puts them. `nvrtc` is the version of the compiler. Opens CUDA in
// the processes of the sweep alone. Errors: NO_NVRTC, INVALID_ARGUMENT (the environment's settings).
llvm::Expected<Kit> device_kit(const std::string& cache_dir);

}  // namespace mhcjit::tuning
