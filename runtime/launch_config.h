// How the driver is told to launch a loaded kernel.
#pragma once

#include "runtime/module.h"

namespace mhcjit::runtime {

// Points into itself: neither copied nor moved.
class LaunchConfig {
 public:
  LaunchConfig(const LoadedKernel& loaded, codegen::Grid grid, CUstream stream) {
    config_.gridDimX = grid.x;
    config_.gridDimY = grid.y;
    config_.gridDimZ = 1;
    config_.blockDimX = loaded.threads_per_block;
    config_.blockDimY = 1;
    config_.blockDimZ = 1;
    config_.sharedMemBytes = loaded.dynamic_smem_bytes;
    config_.hStream = stream;
    if (loaded.cluster_size == 0) return;
    cluster_.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    cluster_.value.clusterDim.x = loaded.cluster_size;
    cluster_.value.clusterDim.y = 1;
    cluster_.value.clusterDim.z = 1;
    config_.attrs = &cluster_;
    config_.numAttrs = 1;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  const CUlaunchConfig* get() const { return &config_; }

 private:
  CUlaunchConfig config_ = {};
  CUlaunchAttribute cluster_ = {};
};

}  // namespace mhcjit::runtime
