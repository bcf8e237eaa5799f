#include "bench/spec.h"

#include "runtime/builder.h"
#include "runtime/settings.h"

namespace mhcjit::bench {

llvm::Expected<codegen::KernelSpec> spec_of(const codegen::Problem& problem) {
  auto settings = runtime::settings_from({});
  if (!settings) return settings.takeError();
  return runtime::spec_of({problem, settings->kernel_template});
}

}  // namespace mhcjit::bench
