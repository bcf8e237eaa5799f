#include "bench/compiled_plan.h"

#include <llvm/ADT/STLExtras.h>

#include "runtime/compiler.h"
#include "runtime/kernel_unit.h"
#include "runtime/template_set.h"
#include "support/error.h"

namespace mhcjit::bench {

llvm::Expected<CompiledPlan> compile_plan(const codegen::PlanPtr& plan) {
  runtime::Compiler compiler;
  auto templates = runtime::load_templates("");
  if (!templates) return templates.takeError();
  auto identities = compiler.identities(plan->problem().architecture);
  if (!identities) return identities.takeError();
  CompiledPlan compiled = {plan, {}};
  for (const codegen::Kernel& kernel : plan->kernels()) {
    auto output = compiler.compile(plan->problem().architecture,
                                   runtime::compile_request(plan->problem(), kernel, **templates, identities->front()));
    if (!output) return output.takeError();
    compiled.kernels.push_back(runtime::compiled_kernel(kernel, std::move(*output)));
  }
  return compiled;
}

llvm::Expected<LoadedPlan> load_plan(const CompiledPlan& compiled) {
  auto driver = runtime::DriverApi::load("");
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  auto ordinal = runtime::current_device(**driver);
  if (!ordinal) return ordinal.takeError();
  auto device = runtime::inspect_device(**driver, *ordinal);
  if (!device) return device.takeError();
  LoadedPlan loaded = {**driver, *device, {codegen::max_tokens, compiled.plan, {}}};
  for (const auto& [kernel, cubin] : llvm::zip_equal(compiled.plan->kernels(), compiled.kernels)) {
    auto one = runtime::load_kernel(**driver, *ordinal, *compiled.plan->problem().op, kernel, cubin);
    if (!one) return one.takeError();
    if (auto error = runtime::check_runnable(*one)) return error;
    loaded.bucket.kernels.push_back(std::move(*one));
  }
  return loaded;
}

}  // namespace mhcjit::bench
