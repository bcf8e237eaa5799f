// What the host pays for a call, beside what the driver alone takes.
#pragma once

#include "gpu.h"

namespace mhcjit::gpu {

struct LaunchCost {
  int kernels = 0;          // of one mhcjit_pre_forward
  double call_ns = 0.0;     // mhcjit_pre_forward
  double raw_ns = 0.0;      // as many cuLaunchKernelEx, of the same kernels with the same arguments
  double prepare_ns = 0.0;  // mhcjit_prepare of a problem that is ready
  std::string nvrtc_version;
  std::string nvrtc_path;
};

LaunchCost bench_launch_cost(const Gpu& gpu);

}  // namespace mhcjit::gpu
