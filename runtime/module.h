// Cubins in the driver: loaded once, usable in every context of its device, never unloaded, since a launch that is
// still on a stream may need it and nobody can tell.
#pragma once

#include <cstdint>
#include <vector>

#include "cache/entry.h"
#include "codegen/plan.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

struct LoadedKernel {
  codegen::Kernel kernel;
  CUkernel handle = nullptr;
  std::uint32_t max_blocks = 0;               // of a persistent kernel, as many as the device runs at once; 0: no limit
  bool is_runnable = true;                    // false: the device has no room for blocks that run at the same time
  std::uint32_t makes = ~std::uint32_t{0};    // a bit for each tensor of the operator's table that it contributes to
  std::vector<std::size_t> map_tensors = {};  // places in the table of its tensor maps' tensors
};

// Loads a kernel into the current context too, so that the first launch has nothing left to do. Cost: milliseconds.
// Does not disturb a capture that another thread or stream is in. Errors: LOAD_FAILED (the driver refuses the cubin, or
// it lacks its kernel), OUT_OF_MEMORY, NO_DEVICE.
llvm::Expected<LoadedKernel> load_kernel(const DriverApi& driver, CUdevice device, const codegen::Operator& op,
                                         const codegen::Kernel& kernel, const cache::CompiledKernel& compiled);

// Success, or LOAD_FAILED with what the device cannot run.
llvm::Error check_runnable(const LoadedKernel& loaded);

}  // namespace mhcjit::runtime
