#include "bench/spec.h"

#include "codegen/heuristic.h"
#include "runtime/settings.h"

namespace mhcjit::bench {

llvm::Expected<codegen::KernelSpec> spec_of(const codegen::Problem& problem) {
  auto settings = runtime::settings_from({});
  if (!settings) return settings.takeError();
  if (settings->kernel_template) {
    auto wanted = codegen::choose_spec(problem, settings->kernel_template);
    if (wanted) return wanted;
    llvm::consumeError(wanted.takeError());
  }
  return codegen::choose_spec(problem);
}

}  // namespace mhcjit::bench
