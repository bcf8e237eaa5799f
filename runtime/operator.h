// One prepared operator, on whatever it runs: what mhcjit_operator is behind the C ABI.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <llvm/Support/Error.h>

#include "codegen/problem.h"
#include "mhcjit/mhcjit.h"
#include "runtime/arguments.h"

namespace mhcjit::runtime {

// Immutable, so every member may be called from any number of threads at the same time.
class Operator {
 public:
  virtual ~Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  // Errors: INVALID_ARGUMENT (T).
  llvm::Expected<std::size_t> workspace_bytes(std::int64_t T) const;

  // Errors: INVALID_ARGUMENT (T).
  llvm::Expected<mhcjit_plan_info> plan(std::int64_t T) const;

  // Checks everything, then launches; a failed check has launched and written nothing. `args` is the public argument
  // struct of the operator `id`, `stream` a CUstream. Errors: those of the operator's public function, and
  // INVALID_ARGUMENT when this is not that operator.
  llvm::Error run(mhcjit_op id, const void* args, void* stream) const;

  // "OPERATOR n=4 D=4096 bf16 sm_90a": how errors name it.
  const std::string& name() const { return name_; }

 protected:
  Operator(const codegen::Problem& problem, std::string name)
      : problem_(problem), arguments_(problem), name_(std::move(name)) {}

  const codegen::Problem& problem() const { return problem_; }
  const ArgumentTable& arguments() const { return arguments_; }

 private:
  // For T within its range.
  virtual std::size_t needed_workspace(std::int64_t T) const = 0;

  // For T within its range.
  virtual mhcjit_plan_info plan_of(std::int64_t T) const = 0;

  // Success if calls are possible now, on this thread, with these tensors.
  virtual llvm::Error check_usable(const void* args) const = 0;

  // `args` are checked.
  virtual llvm::Error launch(const void* args, void* stream) const = 0;

  const codegen::Problem problem_;
  const ArgumentTable arguments_;
  const std::string name_;
};

inline const Operator* from_handle(const mhcjit_operator* handle) { return reinterpret_cast<const Operator*>(handle); }

}  // namespace mhcjit::runtime
