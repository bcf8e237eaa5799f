#include "kernel_program.h"

#include <cstdlib>
#include <stdexcept>

#include <fmt/format.h>

#include "runtime/compiler_identity.h"
#include "runtime/launch_config.h"
#include "runtime/nvrtc.h"
#include "runtime/template_set.h"
#include "support/error.h"

namespace mhcjit::gpu {
namespace {

template <typename T>
T value_or_throw(llvm::Expected<T> expected) {
  if (!expected) throw std::runtime_error(take_failure(expected.takeError()).text);
  return std::move(*expected);
}

}  // namespace

KernelProgram::KernelProgram(const Gpu& gpu, const std::string& source) : gpu_(gpu) {
  const auto location = value_or_throw(runtime::locate_nvrtc("", [](const char* name) { return std::getenv(name); }));
  const auto* nvrtc = value_or_throw(runtime::Nvrtc::load(location));
  const auto templates = value_or_throw(runtime::load_templates(""));
  const auto identity = value_or_throw(runtime::identify(location));
  const auto output = value_or_throw(
      nvrtc->compile({source, templates->headers, runtime::compile_options(gpu.architecture, identity), ""}));
  gpu.driver.check(
      gpu.driver.cuLibraryLoadData(&library_, output.cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
      "cuLibraryLoadData");
}

KernelProgram::~KernelProgram() { gpu_.driver.cuLibraryUnload(library_); }

CUkernel KernelProgram::kernel(const char* entry) const {
  CUkernel kernel = nullptr;
  gpu_.driver.check(gpu_.driver.cuLibraryGetKernel(&kernel, library_, entry), entry);
  return kernel;
}

void KernelProgram::launch(const char* entry, const LaunchShape& shape, const void* args, CUstream stream) const {
  codegen::Kernel described;
  described.threads_per_block = static_cast<int>(shape.threads_per_block);
  described.dynamic_smem_bytes = static_cast<int>(shape.shared_bytes);
  described.is_cooperative = shape.is_cooperative;
  const runtime::LaunchConfig config(described, {shape.grid_x, shape.grid_y, shape.cluster_size}, stream, false);
  void* parameters[] = {const_cast<void*>(args)};
  gpu_.driver.check(
      gpu_.driver.cuLaunchKernelEx(config.get(), reinterpret_cast<CUfunction>(kernel(entry)), parameters, nullptr),
      entry);
}

}  // namespace mhcjit::gpu
