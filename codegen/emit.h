// Spec to translation unit: the only place that formats CUDA text.
#pragma once

#include <string>
#include <vector>

#include "codegen/kernel_spec.h"

namespace mhcjit::codegen {

// The complete source handed to the compiler. It includes template headers by name and defines one extern "C" entry
// for each stage. Equal specs give equal text.
std::string emit_unit(const KernelSpec& spec);

}  // namespace mhcjit::codegen
