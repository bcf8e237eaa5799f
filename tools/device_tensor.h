// A tensor where the operator runs: in host memory for the CPU, in device memory for a GPU.
#pragma once

#include <memory>
#include <optional>

#include <llvm/Support/Error.h>

#include "tools/host_buffer.h"

namespace mhcjit::tools {

// The device of a run: a CUDA ordinal, or nothing for the CPU.
using Placement = std::optional<std::int32_t>;

// "cpu", "cuda:K", or "auto": cuda:0 where there is a GPU, else the CPU. A GPU is opened: its context becomes current
// on this thread. Errors: INVALID_ARGUMENT (text is none of these), NO_DEVICE (there is no such GPU), and those of
// mhcjit_device_open.
llvm::Expected<Placement> open_device(llvm::StringRef text);

class DeviceTensor {
 public:
  DeviceTensor() = default;

  // `source` must outlive the tensor: on the CPU its memory is used as it is. An absent buffer gives an absent tensor.
  static llvm::Expected<DeviceTensor> upload(Placement placement, const HostBuffer& source);
  static llvm::Expected<DeviceTensor> allocate(Placement placement, std::size_t bytes);

  // nullptr when absent.
  void* data() const { return pointer_; }
  float* floats() const { return static_cast<float*>(pointer_); }

  // The tensor's bytes in host memory, after the work enqueued on the default stream. The tensor is absent afterwards.
  llvm::Expected<HostBuffer> download() &&;

 private:
  struct FreeDeviceMemory {
    void operator()(void* pointer) const;
  };
  void* pointer_ = nullptr;
  std::size_t bytes_ = 0;
  HostBuffer host_;                                    // owner on the CPU
  std::unique_ptr<void, FreeDeviceMemory> on_device_;  // owner on a GPU
};

}  // namespace mhcjit::tools
