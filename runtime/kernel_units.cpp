#include "runtime/kernel_units.h"

#include <llvm/ADT/STLExtras.h>

#include "codegen/emit.h"
#include "runtime/ptxas_log.h"

namespace mhcjit::runtime {

std::vector<CompileRequest> compile_requests(const codegen::KernelSpec& spec, const TemplateSet& templates,
                                             const CompilerIdentity& compiler) {
  const std::vector<std::string> options = compile_options(to_string(spec.problem.architecture), compiler);
  std::vector<CompileRequest> requests;
  for (std::string& source : codegen::emit_units(spec))
    requests.push_back({std::move(source), templates.headers, options, ""});
  return requests;
}

std::vector<cache::CompiledKernel> compiled_kernels(const codegen::KernelSpec& spec,
                                                    std::vector<CompileOutput> outputs) {
  std::vector<cache::CompiledKernel> kernels;
  for (auto&& [plan, output] : llvm::zip_equal(codegen::stages(spec), outputs)) {
    cache::KernelResources resources;
    for (cache::KernelResources& logged : parse_ptxas_log(output.log))
      if (logged.name == plan.entry()) resources = std::move(logged);
    resources.name = plan.entry();
    resources.max_threads_per_block = plan.threads_per_block;
    kernels.push_back({std::move(resources), std::move(output.cubin)});
  }
  return kernels;
}

}  // namespace mhcjit::runtime
