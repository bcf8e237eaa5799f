// The properties of a GPU that the library asks the driver for.
#pragma once

#include <cstddef>
#include <string>

#include "codegen/device.h"
#include "runtime/driver_api.h"

namespace mhcjit::runtime {

struct Device {
  CUdevice ordinal = 0;  // the driver's handle of a device is its ordinal
  codegen::Architecture architecture;
  codegen::Device planned;             // what grids are worked out for
  bool reads_pageable_memory = false;  // kernels may use plain host memory
  std::string name = {};               // "NVIDIA H200"
};

// Device of the calling thread's current context. Cost: tens of nanoseconds; allowed during a capture. Errors:
// NO_DEVICE (no context is current).
llvm::Expected<CUdevice> current_device(const DriverApi& driver);

// Errors: INVALID_ARGUMENT (older than compute capability 8.0), NO_DEVICE.
llvm::Expected<Device> inspect_device(const DriverApi& driver, CUdevice ordinal);

// Success when `pointer` is memory that kernels of `device` may use, or WRONG_DEVICE: managed memory, this device's
// own, and host memory where the device reads pageable memory. `operator_name` and `argument` begin the text.
llvm::Error check_memory(const DriverApi& driver, const Device& device, const void* pointer,
                         std::string_view operator_name, std::string_view argument);

}  // namespace mhcjit::runtime
