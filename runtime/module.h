// Cubins in the driver: loaded once, usable in every context of its device, never unloaded, since a launch that is
// still on a stream may need it and nobody can tell.
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/ArrayRef.h>

#include "cache/entry.h"
#include "codegen/kernel_spec.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

struct LoadedKernel {
  codegen::Stage stage;
  CUkernel kernel;
  std::uint32_t dynamic_smem_bytes;
  std::uint32_t threads_per_block;
  std::uint32_t max_blocks = 0;  // of a persistent kernel, as many as the device runs at once; 0: no limit
  bool is_runnable = true;       // false: the device cannot run even one cluster
  codegen::TensorBox box = {};   // of the tensor map that it takes; empty: it takes none
  bool overlaps_previous = false;
  // Numbers of tokens that it serves.
  std::int64_t min_tokens = 0;
  std::int64_t max_tokens = codegen::max_tokens;

  bool takes_tensor_map() const { return box != codegen::TensorBox{}; }
  bool serves(std::int64_t tokens) const { return min_tokens <= tokens && tokens <= max_tokens; }
};

// Loads `kernels`, which are those of `plans`, into the current context too, so that the first launch has nothing left
// to do. Cost: milliseconds. Does not disturb a capture that another thread or stream is in. Errors: LOAD_FAILED (the
// driver refuses a cubin, or it lacks its kernel), OUT_OF_MEMORY, NO_DEVICE.
llvm::Expected<std::vector<LoadedKernel>> load_kernels(const DriverApi& driver, CUdevice device,
                                                       llvm::ArrayRef<cache::CompiledKernel> kernels,
                                                       const std::vector<codegen::StagePlan>& plans);

// Success, or LOAD_FAILED with the first of `kernels`, which are those of `plans`, that is not runnable.
llvm::Error check_runnable(const std::vector<LoadedKernel>& kernels, const std::vector<codegen::StagePlan>& plans);

}  // namespace mhcjit::runtime
