// Device memory between guard words, filled with NaN until something is written.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bench/gpu/gpu.h"

namespace mhcjit::gpu {

// Uploads, downloads and fills go through the default stream and are complete when the call returns.
class DeviceBuffer {
 public:
  // address() is aligned to `alignment`, a power of two up to 256, and to no more: a kernel that counts on more faults.
  // Throws std::runtime_error when memory runs out.
  DeviceBuffer(const Gpu& gpu, std::size_t bytes, std::size_t alignment);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;

  std::size_t size() const { return bytes_; }
  template <typename T = void>
  T* as() const {
    return reinterpret_cast<T*>(address_);
  }

  // A NaN as bf16, fp16 and fp32 when `byte` is 0xff.
  void fill(unsigned char byte = 0xff) const;
  void upload(std::span<const std::byte> content, std::size_t offset = 0) const;
  std::vector<std::byte> download() const { return download(0, bytes_); }
  std::vector<std::byte> download(std::size_t offset, std::size_t bytes) const;

  // Enqueues a copy of `from`, which is of the same size.
  void copy_from(const DeviceBuffer& from, CUstream stream = nullptr) const;

  // True if nothing was written outside the buffer.
  bool intact() const;

 private:
  const Gpu& gpu_;
  std::size_t bytes_;
  CUdeviceptr allocation_ = 0;
  CUdeviceptr address_ = 0;
};

}  // namespace mhcjit::gpu
