// How a plan cuts the caller's workspace into regions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mhcjit::codegen {

// Hands out regions one behind the other; every region starts at a multiple of 16 bytes.
class Workspace {
 public:
  std::size_t add(std::int64_t words_of_four_bytes) {
    const std::size_t offset = end_;
    end_ += (static_cast<std::size_t>(words_of_four_bytes) * 4 + 15) / 16 * 16;
    return offset;
  }
  std::size_t end() const { return end_; }

 private:
  std::size_t end_ = 0;
};

template <typename T>
T* region(void* workspace, std::size_t offset) {
  return reinterpret_cast<T*>(static_cast<char*>(workspace) + offset);
}

}  // namespace mhcjit::codegen
