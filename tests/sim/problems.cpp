#include "problems.h"

#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringRef.h>

#include "support/error.h"

namespace mhcjit::sim {

llvm::Expected<codegen::Problem> parse_problem(std::string_view name, codegen::Op op) {
  codegen::Problem problem;
  problem.op = op;
  problem.architecture = {8, 0, 0};
  problem.batch_invariant = true;

  llvm::SmallVector<llvm::StringRef> parts;
  llvm::StringRef(name).split(parts, '_');
  const bool has_form = (parts.size() == 3 || (parts.size() == 4 && parts[3] == "gamma")) &&
                        parts[0].consume_front("n") && !parts[0].getAsInteger(10, problem.n) &&
                        parts[1].consume_front("d") && !parts[1].getAsInteger(10, problem.d);
  if (!has_form)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "problem is '{}', allowed: nN_dD_DTYPE or nN_dD_DTYPE_gamma",
                      name);
  auto dtype = codegen::parse_dtype(std::string_view(parts[2]));
  if (!dtype) return dtype.takeError();
  problem.dtype = *dtype;
  problem.has_gamma = parts.size() == 4;
  if (auto error = codegen::check(problem)) return error;
  return problem;
}

}  // namespace mhcjit::sim
