// The functions of memory.h.
#include <map>
#include <mutex>

#include "mhcjit/memory.h"
#include "runtime/api_boundary.h"
#include "runtime/driver_api.h"

using namespace mhcjit;
using namespace mhcjit::runtime;

namespace {

llvm::Expected<const DriverApi*> initialised_driver() {
  auto driver = DriverApi::load("");
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  return *driver;
}

llvm::Expected<int> device_count(const DriverApi& driver) {
  int count = 0;
  if (auto error = driver.check(driver.cuDeviceGetCount(&count), MHCJIT_ERROR_NO_DEVICE, "counting devices"))
    return error;
  return count;
}

// The primary context of a device, retained once for the life of the process.
llvm::Expected<CUcontext> primary_context(const DriverApi& driver, CUdevice device) {
  static std::mutex mutex;
  static auto& retained = *new std::map<CUdevice, CUcontext>;  // must outlive static destruction
  const std::lock_guard lock(mutex);
  if (const auto found = retained.find(device); found != retained.end()) return found->second;
  CUcontext context = nullptr;
  if (auto error = driver.check(driver.cuDevicePrimaryCtxRetain(&context, device), MHCJIT_ERROR_NO_DEVICE,
                                "creating the primary context of device {}", device))
    return error;
  retained.emplace(device, context);
  return context;
}

// A driver that refuses a copy or a free either does not know the memory, or reports a fault of an earlier kernel.
mhcjit_status status_of_memory_call(CUresult result) {
  return result == CUDA_ERROR_INVALID_VALUE ? MHCJIT_ERROR_INVALID_ARGUMENT : MHCJIT_ERROR_LAUNCH_FAILED;
}

template <typename Copy>
llvm::Error copy(const void* device, const void* host, std::size_t bytes, Copy&& call) {
  if (bytes == 0) return llvm::Error::success();
  if (auto error = check_not_null(device, "device")) return error;
  if (auto error = check_not_null(host, "host")) return error;
  auto driver = initialised_driver();
  if (!driver) return driver.takeError();
  const CUresult result = call(**driver);
  return (*driver)->check(result, status_of_memory_call(result),
                          "copying {} bytes between device memory {} and host "
                          "memory {}",
                          bytes, fmt::ptr(device), fmt::ptr(host));
}

}  // namespace

mhcjit_status mhcjit_device_count(int32_t* count) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(count, "count")) return error;
    auto driver = initialised_driver();
    auto counted = driver ? device_count(**driver) : driver.takeError();
    if (counted) {
      *count = *counted;
      return llvm::Error::success();
    }
    Failure failure = take_failure(counted.takeError());
    if (failure.status != MHCJIT_ERROR_NO_DEVICE) return make_error(failure.status, std::move(failure.text));
    *count = 0;
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_device_open(int32_t ordinal) {
  return guarded([&]() -> llvm::Error {
    auto driver = initialised_driver();
    if (!driver) return driver.takeError();
    auto count = device_count(**driver);
    if (!count) return count.takeError();
    if (ordinal < 0 || ordinal >= *count)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "ordinal is {}, allowed: 0 to {}; this machine shows {} devices",
                        ordinal, *count - 1, *count);
    auto context = primary_context(**driver, ordinal);
    if (!context) return context.takeError();
    return (*driver)->check((*driver)->cuCtxSetCurrent(*context), MHCJIT_ERROR_NO_DEVICE,
                            "making the context of device {} current", ordinal);
  });
}

mhcjit_status mhcjit_memory_allocate(size_t bytes, void** memory) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(memory, "memory")) return error;
    *memory = nullptr;
    if (bytes == 0) return llvm::Error::success();
    auto driver = initialised_driver();
    if (!driver) return driver.takeError();
    CUdeviceptr allocated = 0;
    const CUresult result = (*driver)->cuMemAlloc(&allocated, bytes);
    if (auto error =
            (*driver)->check(result, status_of_memory_call(result), "allocating {} bytes of device memory", bytes))
      return error;
    *memory = reinterpret_cast<void*>(allocated);
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_memory_free(void* memory) {
  return guarded([&]() -> llvm::Error {
    if (memory == nullptr) return llvm::Error::success();
    auto driver = initialised_driver();
    if (!driver) return driver.takeError();
    const CUresult result = (*driver)->cuMemFree(reinterpret_cast<CUdeviceptr>(memory));
    return (*driver)->check(result, status_of_memory_call(result), "freeing device memory {}", fmt::ptr(memory));
  });
}

mhcjit_status mhcjit_memory_copy_to_device(void* device, const void* host, size_t bytes) {
  return guarded([&] {
    return copy(device, host, bytes, [&](const DriverApi& driver) {
      return driver.cuMemcpyHtoD(reinterpret_cast<CUdeviceptr>(device), host, bytes);
    });
  });
}

mhcjit_status mhcjit_memory_copy_to_host(void* host, const void* device, size_t bytes) {
  return guarded([&] {
    return copy(device, host, bytes, [&](const DriverApi& driver) {
      return driver.cuMemcpyDtoH(host, reinterpret_cast<CUdeviceptr>(device), bytes);
    });
  });
}
