// An operator whose kernels are loaded into a GPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "codegen/choose.h"
#include "runtime/device.h"
#include "runtime/module.h"
#include "runtime/operator.h"

namespace mhcjit::runtime {

// A range of T with its plan, loaded.
struct LoadedBucket {
  std::int64_t max_tokens = 0;
  codegen::PlanPtr plan;
  std::vector<LoadedKernel> kernels;  // of the plan's, in their order
  codegen::Origin origin = {};
  std::size_t least_workspace_bytes = 0;  // what fewer tokens may need, so that the workspace grows with T
  std::string plan_name = {};
};

// A launch allocates nothing, waits for nothing and reads neither environment nor files. It works on any stream, in
// any context of the operator's device, and inside a capture.
class GpuOperator final : public Operator {
 public:
  // `buckets` are in rising order of T and cover every T.
  GpuOperator(const DriverApi& driver, const Device& device, const codegen::Problem& problem,
              std::vector<LoadedBucket> buckets);

 private:
  std::size_t needed_workspace(std::int64_t T) const override;
  mhcjit_plan_info plan_of(std::int64_t T) const override;
  llvm::Error check_usable(const void* args) const override;
  llvm::Error launch(const void* args, void* stream) const override;

  const LoadedBucket& bucket_of(std::int64_t T) const;
  llvm::Error check_device() const;
  llvm::Error check_memory(const void* args) const;
  std::uint32_t wanted_outputs(const void* args) const;
  llvm::Error launch_kernels(const void* args, CUstream stream) const;
  llvm::Error launch_failed(CUresult result, const LoadedBucket& bucket, const LoadedKernel& failed, codegen::Grid grid,
                            const void* args) const;
  llvm::Error zero_sums(const void* args, CUstream stream) const;

  const DriverApi& driver_;
  const Device device_;
  const std::vector<LoadedBucket> buckets_;
};

}  // namespace mhcjit::runtime
