// Kernels of a spec of one's choosing: compiled as the library would, and loaded beside its own.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cache/entry.h"
#include "runtime/gpu_operator.h"

namespace mhcjit::bench {

struct CompiledSpec {
  codegen::KernelSpec spec;
  std::vector<cache::CompiledKernel> kernels;
  std::string failure;  // "": compiled
};

// Each spec compiled, `jobs` at a time, with the compiler that the library would use. Nothing is read from or written
// to a cache.
std::vector<CompiledSpec> compile_specs(std::span<const codegen::KernelSpec> specs, unsigned jobs);

// Into the current context. The kernels are those of stages(compiled.spec); they stay loaded. Errors: those of
// load_kernels and check_runnable.
struct LoadedSpec {
  const runtime::DriverApi& driver;
  runtime::Device device;
  std::vector<runtime::LoadedKernel> kernels;
};
llvm::Expected<LoadedSpec> load_spec(const CompiledSpec& compiled);

}  // namespace mhcjit::bench
