// The command that brings a problem into the cache.
#pragma once

#include <string>

#include "codegen/problem.h"

namespace mhcjit::runtime {

// The shell command that compiles `problem` into `cache_root`, or into the tool's own folder when that is "", with the
// plan or the tuned record that an engine was told to use.
std::string warmup_command(const codegen::Problem& problem, const std::string& cache_root, const std::string& plan,
                           const std::string& tuned_path);

}  // namespace mhcjit::runtime
