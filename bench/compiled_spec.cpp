#include "bench/compiled_spec.h"

#include "runtime/compiler.h"
#include "runtime/kernel_units.h"
#include "runtime/template_set.h"
#include "support/error.h"
#include "support/threads.h"

namespace mhcjit::bench {
namespace {

llvm::Expected<std::vector<cache::CompiledKernel>> compile(runtime::Compiler& compiler,
                                                           const codegen::KernelSpec& spec) {
  auto templates = runtime::load_templates("");
  if (!templates) return templates.takeError();
  auto identities = compiler.identities();
  if (!identities) return identities.takeError();
  auto outputs = compiler.compile(runtime::compile_requests(spec, **templates, identities->front()));
  if (!outputs) return outputs.takeError();
  return runtime::compiled_kernels(spec, std::move(*outputs));
}

}  // namespace

std::vector<CompiledSpec> compile_specs(std::span<const codegen::KernelSpec> specs, unsigned jobs) {
  runtime::Compiler compiler("", {});
  std::vector<CompiledSpec> compiled(specs.size());
  parallel_for(static_cast<std::int64_t>(specs.size()), jobs, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    compiled[at].spec = specs[at];
    auto kernels = compile(compiler, specs[at]);
    if (kernels)
      compiled[at].kernels = std::move(*kernels);
    else
      compiled[at].failure = take_failure(kernels.takeError()).text;
  });
  return compiled;
}

llvm::Expected<LoadedSpec> load_spec(const CompiledSpec& compiled) {
  auto driver = runtime::DriverApi::load("");
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  auto ordinal = runtime::current_device(**driver);
  if (!ordinal) return ordinal.takeError();
  auto device = runtime::inspect_device(**driver, *ordinal);
  if (!device) return device.takeError();
  const auto plans = codegen::stages(compiled.spec);
  auto kernels = runtime::load_kernels(**driver, *ordinal, compiled.kernels, plans);
  if (!kernels) return kernels.takeError();
  if (auto error = runtime::check_runnable(*kernels, plans)) return error;
  return LoadedSpec{**driver, *device, std::move(*kernels)};
}

}  // namespace mhcjit::bench
