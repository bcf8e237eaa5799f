// A kernel to its translation unit: the only place that formats CUDA text.
#pragma once

#include <string>

#include "codegen/plan.h"

namespace mhcjit::codegen {

// The name of the struct of constants that a kernel's unit defines.
std::string constants_struct(const Kernel& kernel);

// The source for the compiler. It includes the kernel's template by name and defines its extern "C" entry. `problem`
// gives its operator and dtype; the text has nothing of the launch, of T or of another kernel.
std::string emit(const Problem& problem, const Kernel& kernel);

}  // namespace mhcjit::codegen
