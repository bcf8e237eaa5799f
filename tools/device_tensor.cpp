#include "tools/device_tensor.h"

#include <algorithm>

#include "mhcjit/memory.h"
#include "tools/command.h"

namespace mhcjit::tools {

llvm::Expected<Placement> open_device(llvm::StringRef text) {
  if (text == "cpu") return std::nullopt;
  std::int32_t ordinal = 0;
  llvm::StringRef digits = text;
  if (text != "auto" && (!digits.consume_front("cuda:") || digits.getAsInteger(10, ordinal) || ordinal < 0))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--device is '{}', allowed: auto, cpu, cuda:K", text.str());
  std::int32_t count = 0;
  if (auto error = library_error(mhcjit_device_count(&count))) return error;
  if (text == "auto" && count == 0) return std::nullopt;
  if (ordinal >= count)
    return make_error(MHCJIT_ERROR_NO_DEVICE,
                      "--device is '{}', but the driver shows {} GPUs: use --device cpu, or see 'mhcjit doctor'",
                      text.str(), count);
  if (auto error = library_error(mhcjit_device_open(ordinal))) return error;
  return ordinal;
}

void DeviceTensor::FreeDeviceMemory::operator()(void* pointer) const { mhcjit_memory_free(pointer); }

llvm::Expected<DeviceTensor> DeviceTensor::allocate(Placement placement, std::size_t bytes) {
  DeviceTensor tensor;
  tensor.bytes_ = bytes;
  if (!placement) {
    llvm::Expected<HostBuffer> host = HostBuffer::allocate(bytes);
    if (!host) return host.takeError();
    tensor.host_ = std::move(*host);
    tensor.pointer_ = tensor.host_.data();
    return tensor;
  }
  // An empty tensor still has a pointer: NULL would mean an absent one.
  void* memory = nullptr;
  if (auto error = library_error(mhcjit_memory_allocate(std::max<std::size_t>(bytes, 1), &memory))) return error;
  tensor.on_device_.reset(memory);
  tensor.pointer_ = memory;
  return tensor;
}

llvm::Expected<DeviceTensor> DeviceTensor::upload(Placement placement, const HostBuffer& source) {
  DeviceTensor tensor;
  if (source.data() == nullptr) return tensor;
  if (!placement) {
    // The operator takes inputs as const; pointer_ is not, because outputs share the type.
    tensor.pointer_ = const_cast<std::byte*>(source.data());
    return tensor;
  }
  llvm::Expected<DeviceTensor> on_device = allocate(placement, source.size());
  if (!on_device) return on_device.takeError();
  if (auto error = library_error(mhcjit_memory_copy_to_device(on_device->data(), source.data(), source.size())))
    return error;
  return on_device;
}

llvm::Expected<HostBuffer> DeviceTensor::download() && {
  if (!on_device_) return std::move(host_);
  llvm::Expected<HostBuffer> host = HostBuffer::allocate(bytes_);
  if (!host) return host.takeError();
  if (auto error = library_error(mhcjit_memory_copy_to_host(host->data(), on_device_.get(), bytes_))) return error;
  on_device_.reset();
  return host;
}

}  // namespace mhcjit::tools
