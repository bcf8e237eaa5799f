// An operator that runs on host memory with this process's threads.
#pragma once

#include "runtime/operator.h"

namespace mhcjit::runtime {

class CpuOperator final : public Operator {
 public:
  // `threads` 0: one for each usable core. `problem` needs no architecture.
  CpuOperator(const codegen::Problem& problem, int threads);

 private:
  std::size_t needed_workspace(std::int64_t T) const override;
  llvm::Error check_usable(const TensorArguments&) const override { return llvm::Error::success(); }
  llvm::Error launch(const mhcjit_pre_forward_args& args, void* stream) const override;
  llvm::Error launch(const mhcjit_pre_backward_args& args, void* stream) const override;

  const unsigned threads_;
};

}  // namespace mhcjit::runtime
