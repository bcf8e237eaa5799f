// The CUDA driver functions that benchmarks and tests call themselves: memory, streams, events, graphs. Opened at run
// time, like the library's own table, so that the programs start on a machine without a driver.
#pragma once

#include <string>

#include <cuda.h>

namespace mhcjit::gpu {

#define MHCJIT_GPU_FUNCTIONS(F)  \
  F(cuInit)                      \
  F(cuDriverGetVersion)          \
  F(cuGetErrorName)              \
  F(cuDeviceGetCount)            \
  F(cuDeviceGet)                 \
  F(cuDeviceGetName)             \
  F(cuDeviceGetUuid)             \
  F(cuDeviceGetAttribute)        \
  F(cuDevicePrimaryCtxRetain)    \
  F(cuCtxSetCurrent)             \
  F(cuMemAlloc)                  \
  F(cuMemFree)                   \
  F(cuMemGetInfo)                \
  F(cuMemcpyHtoD)                \
  F(cuMemcpyDtoH)                \
  F(cuMemcpyDtoDAsync)           \
  F(cuMemsetD8)                  \
  F(cuStreamCreate)              \
  F(cuStreamDestroy)             \
  F(cuStreamSynchronize)         \
  F(cuStreamBeginCapture)        \
  F(cuStreamEndCapture)          \
  F(cuStreamIsCapturing)         \
  F(cuGraphInstantiateWithFlags) \
  F(cuGraphLaunch)               \
  F(cuGraphExecDestroy)          \
  F(cuGraphDestroy)              \
  F(cuEventCreate)               \
  F(cuEventDestroy)              \
  F(cuEventRecord)               \
  F(cuEventQuery)                \
  F(cuEventElapsedTime)          \
  F(cuLibraryLoadData)           \
  F(cuLibraryUnload)             \
  F(cuLibraryGetKernel)          \
  F(cuKernelSetAttribute)        \
  F(cuTensorMapEncodeTiled)      \
  F(cuLaunchKernelEx)

struct Driver {
#define MHCJIT_MEMBER(name) decltype(&::name) name = nullptr;
  MHCJIT_GPU_FUNCTIONS(MHCJIT_MEMBER)
#undef MHCJIT_MEMBER

  // Throws std::runtime_error with the driver's name of the error unless `result` is success.
  void check(CUresult result, const char* what) const;
};

// libcuda.so.1 of the loader's path, opened once. nullptr when there is none or it lacks a function; `missing` then
// says what.
const Driver* open_driver(std::string& missing);

}  // namespace mhcjit::gpu
