// The families of pre_backward.
#pragma once

#include "codegen/plan.h"

namespace mhcjit::codegen {

// Products in fp32, x read three times: every problem on every architecture.
extern const Family pre_backward_portable;

}  // namespace mhcjit::codegen
