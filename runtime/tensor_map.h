// x as a tensor map: what the kernels that copy boxes of x are launched with.
#pragma once

#include "codegen/kernel_spec.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

// The map of x [T, n, D] of `problem`: dimensions {D, T, n}, boxes of `box`, in the swizzle of as many bytes as a row
// of them. The driver encodes it on the host; each thread keeps those of its last calls, so that tensors that come
// again cost a look-up. Valid until the thread's next call. `driver` has been initialised, `x` is aligned to 16 bytes,
// T >= 1. Errors: LAUNCH_FAILED (the driver refuses it).
llvm::Expected<const CUtensorMap*> tensor_map_of_x(const DriverApi& driver, const codegen::Problem& problem,
                                                   const codegen::TensorBox& box, const void* x, std::int64_t T);

}  // namespace mhcjit::runtime
