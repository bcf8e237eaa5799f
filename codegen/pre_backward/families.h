// The families of pre_backward.
#pragma once

#include "codegen/plan.h"

namespace mhcjit::codegen {

// Keeps phi, the sums of its gradient and a tile of tokens at a time in a cluster; reads x once.
extern const Family pre_backward_one_pass;
// Needs tensor cores, but neither clusters nor bulk copies; reads x twice. Serves every problem on every architecture.
extern const Family pre_backward_portable;

}  // namespace mhcjit::codegen
