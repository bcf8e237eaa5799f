// Spec to translation units: the only place that formats CUDA text.
#pragma once

#include <string>
#include <vector>

#include "codegen/kernel_spec.h"

namespace mhcjit::codegen {

// What is handed to the compiler: for each of stages(spec) a complete source, which includes its template by name and
// defines its extern "C" entry. One behind the other they are a complete source too. Equal specs give equal text.
std::vector<std::string> emit_units(const KernelSpec& spec);

}  // namespace mhcjit::codegen
