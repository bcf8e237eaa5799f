#include "runtime/operator.h"

#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::runtime {
namespace {

llvm::Error wrong_operator(const std::string& name, mhcjit_op id) {
  auto called = codegen::operator_of(id);
  if (!called) return called.takeError();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: the operator was called as {}; prepare one with op = {}", name,
                    (*called)->name, (*called)->name);
}

}  // namespace

llvm::Expected<std::size_t> Operator::workspace_bytes(std::int64_t T) const {
  if (auto error = check_tokens(name_, T)) return error;
  return needed_workspace(T);
}

llvm::Expected<mhcjit_plan_info> Operator::plan(std::int64_t T) const {
  if (auto error = check_tokens(name_, T)) return error;
  return plan_of(T);
}

llvm::Error Operator::run(mhcjit_op id, const void* args, void* stream) const {
  if (problem_.op->id != id) return wrong_operator(name_, id);
  auto workspace = workspace_bytes(arguments_.tokens(args));
  if (!workspace) return workspace.takeError();
  if (auto error = arguments_.check(name_, args, *workspace)) return error;
  if (auto error = check_usable(args)) return error;
  return launch(args, stream);
}

}  // namespace mhcjit::runtime
