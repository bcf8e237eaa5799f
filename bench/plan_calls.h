// Calls of a plan of one's choosing, with the tensors of calls of its operator.
#pragma once

#include <cstddef>
#include <optional>

#include "bench/compiled_plan.h"
#include "bench/gpu/device_buffer.h"
#include "bench/input_sets.h"

namespace mhcjit::bench {

class PlanCalls {
 public:
  // `sets` must outlive this. The workspace is of its own. Throws std::runtime_error.
  PlanCalls(const gpu::Gpu& gpu, const InputSets& sets, LoadedPlan loaded);

  // Enqueues a call on a set.
  void run(int set, CUstream stream = nullptr) const;

 private:
  const InputSets& sets_;
  const runtime::GpuOperator operator_;
  const std::size_t workspace_bytes_;
  const gpu::DeviceBuffer workspace_;
};

}  // namespace mhcjit::bench
