#include "runtime/cpu_operator.h"

#include "codegen/operator.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

// The problem's name with "cpu" where an architecture stands.
std::string name_of(const codegen::Problem& problem) {
  const std::string name = codegen::to_string(problem);
  return name.substr(0, name.rfind(' ')) + " cpu";
}

}  // namespace

CpuOperator::CpuOperator(const codegen::Problem& problem, const cpu::Implementation& implementation, int threads)
    : Operator(problem, name_of(problem)), implementation_(implementation), threads_(static_cast<unsigned>(threads)) {}

llvm::Expected<std::shared_ptr<const Operator>> CpuOperator::make(const codegen::Problem& problem, int threads) {
  const cpu::Implementation* implementation = cpu::find_implementation(*problem.op);
  if (implementation == nullptr)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} does not run on the CPU; prepare it for a GPU",
                      problem.op->name);
  return std::shared_ptr<const Operator>(new CpuOperator(problem, *implementation, threads));
}

mhcjit_plan_info CpuOperator::plan_of(std::int64_t) const {
  mhcjit_plan_info info = {};
  info.plan = "cpu";
  info.measured_on = info.refused = "";
  info.max_t = codegen::max_tokens;
  return info;
}

llvm::Error CpuOperator::launch(const void* args, void*) const {
  implementation_.run(problem(), args, threads_);
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
