// The families of pre_backward.
#pragma once

#include "codegen/plan.h"

namespace mhcjit::codegen {

// phi, the sums of its gradient and a tile of tokens at a time stay in a cluster; x is read once.
extern const Family pre_backward_one_pass;
// Tensor cores without clusters or bulk copies, x read twice: every problem on every architecture.
extern const Family pre_backward_portable;

}  // namespace mhcjit::codegen
