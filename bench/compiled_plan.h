// Kernels of a plan of one's choosing: compiled as the library would, and loaded beside its own.
#pragma once

#include <vector>

#include "cache/entry.h"
#include "runtime/gpu_operator.h"

namespace mhcjit::bench {

struct CompiledPlan {
  codegen::PlanPtr plan;
  std::vector<cache::CompiledKernel> kernels;  // of the plan's, in their order
};

// With the compiler that the library would use. Nothing is read from or written to a cache. Errors: NO_NVRTC,
// COMPILATION_FAILED, OUT_OF_MEMORY.
llvm::Expected<CompiledPlan> compile_plan(const codegen::PlanPtr& plan);

struct LoadedPlan {
  const runtime::DriverApi& driver;
  runtime::Device device;
  runtime::LoadedBucket bucket;  // for every T
};

// Into the current context; the kernels stay loaded. Errors: those of load_kernel and check_runnable.
llvm::Expected<LoadedPlan> load_plan(const CompiledPlan& compiled);

}  // namespace mhcjit::bench
