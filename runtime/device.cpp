#include "runtime/device.h"

namespace mhcjit::runtime {

llvm::Expected<CUdevice> current_device(const DriverApi& driver) {
  CUdevice device = 0;
  if (auto error = driver.check(driver.cuCtxGetDevice(&device), MHCJIT_ERROR_NO_DEVICE,
                                "asking for the device of the current CUDA context"))
    return error;
  return device;
}

llvm::Expected<Device> inspect_device(const DriverApi& driver, CUdevice ordinal) {
  int major = 0, minor = 0, pageable = 0, multiprocessors = 0;
  for (const auto& [attribute, value] : {std::pair(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major),
                                         std::pair(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor),
                                         std::pair(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &multiprocessors),
                                         std::pair(CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, &pageable)}) {
    if (auto error = driver.check(driver.cuDeviceGetAttribute(value, attribute, ordinal), MHCJIT_ERROR_NO_DEVICE,
                                  "asking device {} for attribute {}", ordinal, static_cast<int>(attribute)))
      return error;
  }
  if (major < 8)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                      "device {} has compute capability {}.{}, allowed: 8.0 and newer; use another device or "
                      "MHCJIT_DEVICE_CPU",
                      ordinal, major, minor);
  char name[256] = {};
  if (auto error = driver.check(driver.cuDeviceGetName(name, sizeof name - 1, ordinal), MHCJIT_ERROR_NO_DEVICE,
                                "asking device {} for its name", ordinal))
    return error;
  const codegen::Architecture architecture = codegen::architecture_of_device(major, minor);
  return Device{ordinal, architecture, codegen::device_of(architecture).with_multiprocessors(multiprocessors),
                pageable != 0, name};
}

llvm::Error check_memory(const DriverApi& driver, const Device& device, const void* pointer,
                         std::string_view operator_name, std::string_view argument) {
  // The driver writes 0 for what it does not know: memory that is nobody's is plain host memory.
  CUmemorytype type = {};
  int ordinal = -1;
  unsigned int managed = 0;
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                      CU_POINTER_ATTRIBUTE_IS_MANAGED};
  void* values[] = {&type, &ordinal, &managed};
  if (auto error = driver.check(driver.cuPointerGetAttributes(std::size(attributes), attributes, values,
                                                              reinterpret_cast<CUdeviceptr>(pointer)),
                                MHCJIT_ERROR_WRONG_DEVICE, "{}: asking what memory {} = {} is", operator_name, argument,
                                fmt::ptr(pointer)))
    return error;
  if (managed != 0) return llvm::Error::success();
  const bool on_device = type == CU_MEMORYTYPE_DEVICE;
  if (on_device ? ordinal == device.ordinal : device.reads_pageable_memory) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_WRONG_DEVICE,
                    "{}: {} is {}, {}; it must be memory of device {}, for which the operator was prepared: move the "
                    "tensor, or prepare under its device's context",
                    operator_name, argument, fmt::ptr(pointer),
                    on_device ? fmt::format("memory of device {}", ordinal) : std::string("host memory"),
                    device.ordinal);
}

}  // namespace mhcjit::runtime
