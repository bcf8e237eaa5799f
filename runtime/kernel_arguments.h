// What the kernels of an operator are handed, and which of them a call needs. Plain host code: no driver, no device.
#pragma once

#include "codegen/kernel_spec.h"
#include "mhcjit/mhcjit.h"
#include "templates/pre_args.cuh"

namespace mhcjit::runtime {

// The kernels' argument struct for checked `args` with T >= 1, with the workspace cut into its regions.
PreForwardArgs kernel_arguments(const codegen::KernelSpec& spec, const mhcjit_pre_forward_args& args);
PreBackwardArgs kernel_arguments(const codegen::KernelSpec& spec, const mhcjit_pre_backward_args& args);

// Whether a stage contributes to an output that the call wants.
bool is_needed(codegen::Stage stage, const mhcjit_pre_forward_args& args);
bool is_needed(codegen::Stage stage, const mhcjit_pre_backward_args& args);

}  // namespace mhcjit::runtime
