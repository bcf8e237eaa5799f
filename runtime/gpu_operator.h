// An operator whose kernels are loaded into a GPU.
#pragma once

#include <vector>

#include "codegen/kernel_spec.h"
#include "runtime/device.h"
#include "runtime/module.h"
#include "runtime/operator.h"

namespace mhcjit::runtime {

// A launch allocates nothing, waits for nothing and reads neither environment nor files. It works on any stream, in
// any context of the operator's device, and inside a capture.
class GpuOperator final : public Operator {
 public:
  // `kernels` are those of stages(spec), in order.
  GpuOperator(const DriverApi& driver, const Device& device, const codegen::KernelSpec& spec,
              std::vector<LoadedKernel> kernels);

 private:
  std::size_t needed_workspace(std::int64_t T) const override;
  llvm::Error check_usable(const TensorArguments& tensors) const override;
  llvm::Error launch(const mhcjit_pre_forward_args& args, void* stream) const override;
  llvm::Error launch(const mhcjit_pre_backward_args& args, void* stream) const override;

  llvm::Error check_device() const;
  llvm::Error check_memory(const TensorArguments& tensors) const;
  template <typename Args>
  llvm::Error launch_stages(const Args& args, CUstream stream) const;
  llvm::Error zero(float* tensor, std::int64_t floats, const char* argument, CUstream stream) const;

  const DriverApi& driver_;
  const Device device_;
  const codegen::KernelSpec spec_;
  const std::vector<LoadedKernel> kernels_;
};

}  // namespace mhcjit::runtime
