// The CUDA driver as a table of functions, opened at run time and never linked: the library loads, precompiles and
// runs its CPU path on a machine that has no driver.
#pragma once

#include <string>
#include <utility>

#include <cuda.h>
#include <llvm/Support/Error.h>

#include "support/error.h"

namespace mhcjit::runtime {

// Every driver function that the library calls. cuLibraryLoadData and its relatives set the oldest driver: CUDA 12.0.
#define MHCJIT_DRIVER_FUNCTIONS(F)     \
  F(cuInit)                            \
  F(cuDriverGetVersion)                \
  F(cuGetErrorName)                    \
  F(cuGetErrorString)                  \
  F(cuDeviceGetCount)                  \
  F(cuDeviceGetName)                   \
  F(cuDeviceGetAttribute)              \
  F(cuDeviceTotalMem)                  \
  F(cuDevicePrimaryCtxRetain)          \
  F(cuCtxSetCurrent)                   \
  F(cuCtxGetDevice)                    \
  F(cuLibraryLoadData)                 \
  F(cuLibraryGetKernel)                \
  F(cuKernelGetFunction)               \
  F(cuKernelSetAttribute)              \
  F(cuOccupancyMaxActiveClusters)      \
  F(cuTensorMapEncodeTiled)            \
  F(cuLaunchKernelEx)                  \
  F(cuMemsetD32Async)                  \
  F(cuStreamIsCapturing)               \
  F(cuThreadExchangeStreamCaptureMode) \
  F(cuPointerGetAttributes)            \
  F(cuMemAlloc)                        \
  F(cuMemFree)                         \
  F(cuMemcpyHtoD)                      \
  F(cuMemcpyDtoH)

inline constexpr int oldest_driver_version = 12000;

struct DriverFunctions {
#define MHCJIT_MEMBER(name) decltype(&::name) name = nullptr;
  MHCJIT_DRIVER_FUNCTIONS(MHCJIT_MEMBER)
#undef MHCJIT_MEMBER
};

// One driver library, kept open while the process lives. Thread-safe.
class DriverApi : public DriverFunctions {
 public:
  // The library at `path`, or libcuda.so.1 of the loader's path when `path` is empty. The first success for a path
  // serves the whole process; cuInit is not called. Errors: NO_DEVICE (absent, not a driver, older than CUDA 12.0).
  static llvm::Expected<const DriverApi*> load(const std::string& path);

  // cuInit, once per process. Errors: NO_DEVICE, FORKED (CUDA was initialised here by a parent of this process).
  llvm::Error initialise() const;

  // FORKED when a parent of this process initialised CUDA through this table. Cost: two loads.
  llvm::Error check_not_forked() const;

  // Success, or the driver's own error name and text after `what`. Memory, context and device errors keep their own
  // status whatever the call was; every other one becomes `status`.
  template <typename... Args>
  llvm::Error check(CUresult result, mhcjit_status status, fmt::format_string<Args...> what, Args&&... args) const {
    if (result == CUDA_SUCCESS) [[likely]]
      return llvm::Error::success();
    return failure(result, status, fmt::format(what, std::forward<Args>(args)...));
  }

  // The newest CUDA that it supports, 12080 for 12.8; 0 where it does not say.
  int cuda_version() const;
  // "12.8", or "unknown".
  std::string version() const;
  // The library's file.
  const std::string& path() const { return path_; }

 private:
  llvm::Error failure(CUresult result, mhcjit_status status, std::string what) const;

  std::string path_;
};

}  // namespace mhcjit::runtime
