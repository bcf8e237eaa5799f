// A source that is not the library's own, compiled with the library's compiler, options and templates and loaded into
// the device.
#pragma once

#include <string>

#include "bench/gpu/gpu.h"
#include "launch_shape.h"

namespace mhcjit::gpu {

class KernelProgram {
 public:
  // Throws std::runtime_error when there is no compiler, or it or the driver refuses the source.
  KernelProgram(const Gpu& gpu, const std::string& source);
  ~KernelProgram();
  KernelProgram(const KernelProgram&) = delete;
  KernelProgram& operator=(const KernelProgram&) = delete;

  CUkernel kernel(const char* entry) const;

  // Enqueues. `args` is the kernel's only parameter.
  void launch(const char* entry, const LaunchShape& shape, const void* args, CUstream stream = nullptr) const;

 private:
  const Gpu& gpu_;
  CUlibrary library_ = nullptr;
};

}  // namespace mhcjit::gpu
