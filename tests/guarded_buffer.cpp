#include "tests/guarded_buffer.h"

#include <algorithm>
#include <cstdint>

#include "tests/address_sanitizer.h"

namespace mhcjit::test {
namespace {

constexpr std::size_t guard_bytes = 256;
constexpr std::byte guard{0xa5};
// A NaN as fp32, as bf16 and as fp16, wherever in it an element begins.
constexpr std::byte poison{0xff};

}  // namespace

GuardedBuffer::GuardedBuffer(std::size_t bytes, std::size_t alignment)
    : storage_(bytes + 4 * guard_bytes, guard), bytes_(bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(storage_.data()) + guard_bytes;
  const std::uintptr_t step = 2 * alignment;
  const std::uintptr_t odd_multiple = (begin + step - 1) / step * step + alignment;
  data_ = storage_.data() + (odd_multiple - reinterpret_cast<std::uintptr_t>(storage_.data()));
  std::fill_n(data_, bytes_, poison);
  address_sanitizer::poison(front().data(), front().size());
  address_sanitizer::poison(back().data(), back().size());
}

GuardedBuffer::GuardedBuffer(std::span<const std::byte> content, std::size_t alignment)
    : GuardedBuffer(content.size(), alignment) {
  std::copy(content.begin(), content.end(), data_);
}

GuardedBuffer::~GuardedBuffer() { address_sanitizer::unpoison(storage_.data(), storage_.size()); }

std::span<const std::byte> GuardedBuffer::front() const { return {storage_.data(), data_}; }
std::span<const std::byte> GuardedBuffer::back() const {
  const std::byte* end = data_ + bytes_;
  return {end, storage_.data() + storage_.size()};
}

bool GuardedBuffer::is_watched() { return address_sanitizer::enabled; }

bool GuardedBuffer::intact() const {
  address_sanitizer::unpoison(storage_.data(), storage_.size());
  const auto untouched = [](std::byte value) { return value == guard; };
  return std::ranges::all_of(front(), untouched) && std::ranges::all_of(back(), untouched);
}

}  // namespace mhcjit::test
