// Stores a parameter's gradient: added to what is there, or in its place.
#pragma once

#include <device/device.cuh>
#include <pre_backward/args.cuh>

MHCJIT_DEVICE void store_gradient(const PreBackwardArgs& args, float* to, float value) {
  *to = args.accumulate_parameters != 0 ? *to + value : value;
}
