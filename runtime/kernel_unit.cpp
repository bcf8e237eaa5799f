#include "runtime/kernel_unit.h"

#include <fmt/ranges.h>

#include "codegen/emit.h"
#include "runtime/ptxas_log.h"

namespace mhcjit::runtime {

CompileRequest compile_request(const codegen::Problem& problem, const codegen::Kernel& kernel,
                               const TemplateSet& templates, const CompilerIdentity& compiler) {
  std::string source = codegen::emit(problem, kernel);
  std::vector<Header> headers = included_headers(templates, source);
  return {std::move(source), std::move(headers), compile_options(to_string(problem.architecture), compiler), ""};
}

cache::CacheKey key_of(const codegen::Problem& problem, const codegen::Kernel& kernel, const CompileRequest& request,
                       const CompilerIdentity& compiler) {
  // The fields that all problems share which have this kernel. They are for people: the source has them too.
  codegen::Problem common = problem;
  common.has_gamma = common.batch_invariant = common.has_fp32_dx = false;
  cache::CacheKey key;
  key.add("kernel", kernel.entry());
  key.add("problem", to_string(common));
  key.add("architecture", to_string(problem.architecture));
  key.add("compiler", to_string(compiler));
  key.add("options", fmt::format("{}", fmt::join(request.options, " ")));
  key.add("headers", digest_of(request.headers));
  key.add("source", request.source);
  return key;
}

cache::CompiledKernel compiled_kernel(const codegen::Kernel& kernel, CompileOutput output) {
  cache::KernelResources resources;
  for (cache::KernelResources& logged : parse_ptxas_log(output.log))
    if (logged.name == kernel.entry()) resources = std::move(logged);
  resources.name = kernel.entry();
  resources.max_threads_per_block = kernel.threads_per_block;
  return {std::move(resources), std::move(output.cubin)};
}

}  // namespace mhcjit::runtime
