// Memory whose first and last byte are known to the test: filled with NaN, between guard words that show a write
// outside it. Under AddressSanitizer the guard words are out of bounds for reads too.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace mhcjit::test {

class GuardedBuffer {
 public:
  // data() is aligned to `alignment`, a power of two up to 64, and to no more: a kernel that counts on more is seen.
  explicit GuardedBuffer(std::size_t bytes, std::size_t alignment = 16);
  explicit GuardedBuffer(std::span<const std::byte> content, std::size_t alignment = 16);
  ~GuardedBuffer();
  GuardedBuffer(GuardedBuffer&&) = default;
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;

  void* data() const { return data_; }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  std::span<const std::byte> content() const { return {data_, bytes_}; }

  // Whether AddressSanitizer ends the process at an access outside, before intact() can say so.
  static bool is_watched();

  // Whether nothing was written outside the buffer.
  bool intact() const;

 private:
  std::span<const std::byte> front() const;
  std::span<const std::byte> back() const;

  std::vector<std::byte> storage_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace mhcjit::test
