// A kernel on its way through the compiler.
#pragma once

#include "cache/cache_key.h"
#include "cache/entry.h"
#include "codegen/plan.h"
#include "runtime/compiler_identity.h"
#include "runtime/nvrtc.h"
#include "runtime/template_set.h"

namespace mhcjit::runtime {

// The request to the compiler. It refers to `templates`.
CompileRequest compile_request(const codegen::Problem& problem, const codegen::Kernel& kernel,
                               const TemplateSet& templates, const CompilerIdentity& compiler);

// All that decides the cubin's bytes, and nothing else: the kernel's own text, the headers that it includes, the
// options and the compiler. No number of the launch, no T, no path, no time; nothing of another kernel.
cache::CacheKey key_of(const codegen::Problem& problem, const codegen::Kernel& kernel, const CompileRequest& request,
                       const CompilerIdentity& compiler);

// The cubin, with the compiler's report of the kernel.
cache::CompiledKernel compiled_kernel(const codegen::Kernel& kernel, CompileOutput output);

}  // namespace mhcjit::runtime
