// Kernels of a plan of one's choosing: compiled as the library would, and loaded beside its own.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cache/entry.h"
#include "runtime/gpu_operator.h"

namespace mhcjit::bench {

struct CompiledPlan {
  codegen::PlanPtr plan;
  std::vector<cache::CompiledKernel> kernels;  // of the plan's, in their order
  std::string failure;                         // "": compiled
};

// Each plan compiled, `jobs` at a time, with the compiler that the library would use. Nothing is read from or written
// to a cache.
std::vector<CompiledPlan> compile_plans(std::span<const codegen::PlanPtr> plans, unsigned jobs);

struct LoadedPlan {
  const runtime::DriverApi& driver;
  runtime::Device device;
  runtime::LoadedBucket bucket;  // for every T
};

// Into the current context; the kernels stay loaded. Errors: those of load_kernel and check_runnable.
llvm::Expected<LoadedPlan> load_plan(const CompiledPlan& compiled);

}  // namespace mhcjit::bench
