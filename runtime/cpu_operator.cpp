#include "runtime/cpu_operator.h"

#include "runtime/cpu/pre_cpu.h"

namespace mhcjit::runtime {
namespace {

// The problem's name with "cpu" where an architecture stands.
std::string name_of(const codegen::Problem& problem) {
  const std::string name = codegen::to_string(problem);
  return name.substr(0, name.rfind(' ')) + " cpu";
}

}  // namespace

CpuOperator::CpuOperator(const codegen::Problem& problem, int threads)
    : Operator(problem, name_of(problem)), threads_(static_cast<unsigned>(threads)) {}

std::size_t CpuOperator::needed_workspace(std::int64_t T) const { return cpu::workspace_bytes(problem(), T); }

llvm::Error CpuOperator::launch(const mhcjit_pre_forward_args& args, void*) const {
  if (args.T > 0) cpu::pre_forward(problem(), args, threads_);
  return llvm::Error::success();
}

llvm::Error CpuOperator::launch(const mhcjit_pre_backward_args& args, void*) const {
  cpu::pre_backward(problem(), args, threads_);
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
