// A spec on its way through the compiler: a unit for each of its kernels, so that they are compiled at the same time.
#pragma once

#include <vector>

#include "cache/entry.h"
#include "codegen/kernel_spec.h"
#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"
#include "runtime/template_set.h"

namespace mhcjit::runtime {

// What the compiler is asked for: a unit for each of stages(spec), in their order. The requests refer to `templates`.
std::vector<CompileRequest> compile_requests(const codegen::KernelSpec& spec, const TemplateSet& templates,
                                             const CompilerIdentity& compiler);

// What the compiler made of these requests, with what it says of each kernel.
std::vector<cache::CompiledKernel> compiled_kernels(const codegen::KernelSpec& spec,
                                                    std::vector<CompileOutput> outputs);

}  // namespace mhcjit::runtime
