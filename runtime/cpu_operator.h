// An operator that runs on host memory with this process's threads.
#pragma once

#include "runtime/cpu/operators.h"
#include "runtime/operator.h"

namespace mhcjit::runtime {

class CpuOperator final : public Operator {
 public:
  // `threads` 0: one for each usable core. `problem` needs no architecture. Errors: INVALID_ARGUMENT (the operator does
  // not run on the CPU).
  static llvm::Expected<std::shared_ptr<const Operator>> make(const codegen::Problem& problem, int threads);

 private:
  CpuOperator(const codegen::Problem& problem, const cpu::Implementation& implementation, int threads);

  std::size_t needed_workspace(std::int64_t T) const override { return implementation_.workspace_bytes(problem(), T); }
  mhcjit_plan_info plan_of(std::int64_t T) const override;
  llvm::Error check_usable(const void*) const override { return llvm::Error::success(); }
  llvm::Error launch(const void* args, void* stream) const override;

  const cpu::Implementation& implementation_;
  const unsigned threads_;
};

}  // namespace mhcjit::runtime
