// Host memory of a tensor: 64-byte aligned, not initialised, freed with its owner.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include <llvm/ADT/ArrayRef.h>

#include "support/error.h"

namespace mhcjit::tools {

class HostBuffer {
 public:
  HostBuffer() = default;

  // Fails with MHCJIT_ERROR_OUT_OF_MEMORY. A buffer of 0 bytes still has a pointer, which tells an empty tensor from
  // an absent one.
  static llvm::Expected<HostBuffer> allocate(std::size_t bytes) {
    constexpr std::size_t alignment = 64;
    // aligned_alloc wants a multiple of the alignment.
    const std::size_t rounded = (bytes / alignment + 1) * alignment;
    HostBuffer buffer;
    if (rounded > bytes) buffer.data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
    if (!buffer.data_) return make_error(MHCJIT_ERROR_OUT_OF_MEMORY, "cannot allocate {} bytes of host memory", bytes);
    buffer.size_ = bytes;
    return buffer;
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  llvm::ArrayRef<std::byte> bytes() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace mhcjit::tools
