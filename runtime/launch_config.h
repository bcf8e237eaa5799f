// How the driver is told to launch a loaded kernel.
#pragma once

#include "codegen/plan.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

// Points into itself: neither copied nor moved.
class LaunchConfig {
 public:
  // `overlaps_previous`: the kernel begins before the one before it in the stream has ended, and waits for it itself.
  LaunchConfig(const codegen::Kernel& kernel, codegen::Grid grid, CUstream stream, bool overlaps_previous) {
    config_.gridDimX = grid.x;
    config_.gridDimY = grid.y;
    config_.gridDimZ = 1;
    config_.blockDimX = static_cast<unsigned>(kernel.threads_per_block);
    config_.blockDimY = 1;
    config_.blockDimZ = 1;
    config_.sharedMemBytes = static_cast<unsigned>(kernel.dynamic_smem_bytes);
    config_.hStream = stream;
    config_.attrs = attributes_;
    if (grid.cluster_size != 0) {
      CUlaunchAttribute& cluster = attributes_[config_.numAttrs++];
      cluster.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
      cluster.value.clusterDim = {grid.cluster_size, 1, 1};
    }
    if (kernel.is_cooperative) {
      CUlaunchAttribute& cooperative = attributes_[config_.numAttrs++];
      cooperative.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
      cooperative.value.cooperative = 1;
    }
    if (overlaps_previous) {
      CUlaunchAttribute& overlap = attributes_[config_.numAttrs++];
      overlap.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
      overlap.value.programmaticStreamSerializationAllowed = 1;
    }
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  const CUlaunchConfig* get() const { return &config_; }

 private:
  CUlaunchConfig config_ = {};
  CUlaunchAttribute attributes_[3] = {};
};

}  // namespace mhcjit::runtime
