// What to run so that a problem is in the cache.
#pragma once

#include <optional>
#include <string>

#include "codegen/kernel_spec.h"

namespace mhcjit::runtime {

// The shell command that compiles `problem` into `cache_root`, or into the tool's own folder when that is "", from the
// template that an engine was told to use.
std::string warmup_command(const codegen::Problem& problem, const std::string& cache_root,
                           std::optional<codegen::KernelTemplate> wanted_template);

}  // namespace mhcjit::runtime
