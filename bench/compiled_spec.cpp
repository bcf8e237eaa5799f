#include "bench/compiled_spec.h"

#include "codegen/emit.h"
#include "oracle/parallel.h"
#include "runtime/compiler.h"
#include "runtime/ptxas_log.h"
#include "runtime/template_set.h"
#include "support/error.h"

namespace mhcjit::bench {
namespace {

llvm::Expected<runtime::CompileOutput> compile(runtime::Compiler& compiler, const codegen::KernelSpec& spec) {
  auto templates = runtime::load_templates("");
  if (!templates) return templates.takeError();
  auto identities = compiler.identities();
  if (!identities) return identities.takeError();
  const std::string architecture = to_string(spec.problem.architecture);
  return compiler.compile({codegen::emit_unit(spec), (*templates)->headers,
                           runtime::compile_options(architecture, identities->front()), ""});
}

}  // namespace

std::vector<CompiledSpec> compile_specs(std::span<const codegen::KernelSpec> specs, unsigned jobs) {
  runtime::Compiler compiler("", {});
  std::vector<CompiledSpec> compiled(specs.size());
  oracle::parallel_for(static_cast<std::int64_t>(specs.size()), jobs, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    compiled[at].spec = specs[at];
    auto output = compile(compiler, specs[at]);
    if (!output) {
      compiled[at].failure = take_failure(output.takeError()).text;
      return;
    }
    compiled[at].kernels = runtime::parse_ptxas_log(output->log);
    compiled[at].cubin = std::move(output->cubin);
  });
  return compiled;
}

llvm::Expected<LoadedSpec> load_spec(const codegen::KernelSpec& spec, const std::string& cubin) {
  auto driver = runtime::DriverApi::load("");
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  auto ordinal = runtime::current_device(**driver);
  if (!ordinal) return ordinal.takeError();
  auto device = runtime::inspect_device(**driver, *ordinal);
  if (!device) return device.takeError();
  const auto plans = codegen::stages(spec);
  auto kernels = runtime::load_kernels(**driver, *ordinal, cubin, plans);
  if (!kernels) return kernels.takeError();
  if (auto error = runtime::check_runnable(*kernels, plans)) return error;
  return LoadedSpec{**driver, *device, std::move(*kernels)};
}

}  // namespace mhcjit::bench
