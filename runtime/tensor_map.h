// Tensors as tensor maps: what the kernels that copy boxes are launched with.
#pragma once

#include "codegen/plan.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

// The map of the tensor at `base`, [T, n, D] or [T, D] of `problem`: dimensions {D, T, n}, boxes as `map` says, in the
// swizzle of as many bytes as a row of them. The driver encodes it on the host; each thread keeps those of its last
// calls, so that tensors that come again cost a look-up. `driver` has been initialised, `base` is aligned to 16 bytes,
// T >= 1. Errors: LAUNCH_FAILED (the driver refuses it).
llvm::Error fill_tensor_map(const DriverApi& driver, const codegen::Problem& problem, const codegen::TensorMap& map,
                            const void* base, std::int64_t T, CUtensorMap& filled);

}  // namespace mhcjit::runtime
