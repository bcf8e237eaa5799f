#include "bench/gpu/device_buffer.h"

#include <algorithm>
#include <utility>

namespace mhcjit::gpu {
namespace {

constexpr std::size_t guard_bytes = 512;
constexpr std::byte guard{0xa5};

bool is_guard(const Driver& driver, CUdeviceptr begin, CUdeviceptr end) {
  std::vector<std::byte> words(end - begin);
  driver.check(driver.cuMemcpyDtoH(words.data(), begin, words.size()), "reading guard words");
  return std::ranges::all_of(words, [](std::byte word) { return word == guard; });
}

}  // namespace

DeviceBuffer::DeviceBuffer(const Gpu& gpu, std::size_t bytes, std::size_t alignment) : gpu_(gpu), bytes_(bytes) {
  const Driver& driver = gpu.driver;
  const std::size_t front = guard_bytes + alignment;
  driver.check(driver.cuMemAlloc(&allocation_, front + bytes + guard_bytes), "cuMemAlloc");
  // An allocation is aligned to 256 at least, so that `front` alone decides the alignment.
  address_ = allocation_ + front;
  driver.check(driver.cuMemsetD8(allocation_, std::to_integer<unsigned char>(guard), front), "cuMemsetD8");
  driver.check(driver.cuMemsetD8(address_ + bytes, std::to_integer<unsigned char>(guard), guard_bytes), "cuMemsetD8");
  fill();
}

DeviceBuffer::~DeviceBuffer() {
  if (allocation_ != 0) gpu_.driver.cuMemFree(allocation_);
}

DeviceBuffer::DeviceBuffer(DeviceBuffer&& other) noexcept
    : gpu_(other.gpu_),
      bytes_(other.bytes_),
      allocation_(std::exchange(other.allocation_, 0)),
      address_(other.address_) {}

void DeviceBuffer::fill(unsigned char byte) const {
  if (bytes_ > 0) gpu_.driver.check(gpu_.driver.cuMemsetD8(address_, byte, bytes_), "cuMemsetD8");
  // A fill of device memory may return before it is done.
  gpu_.synchronize();
}

void DeviceBuffer::upload(std::span<const std::byte> content, std::size_t offset) const {
  if (content.empty()) return;
  gpu_.driver.check(gpu_.driver.cuMemcpyHtoD(address_ + offset, content.data(), content.size()), "cuMemcpyHtoD");
}

std::vector<std::byte> DeviceBuffer::download(std::size_t offset, std::size_t bytes) const {
  std::vector<std::byte> content(bytes);
  if (bytes > 0) gpu_.driver.check(gpu_.driver.cuMemcpyDtoH(content.data(), address_ + offset, bytes), "cuMemcpyDtoH");
  return content;
}

void DeviceBuffer::copy_from(const DeviceBuffer& from, CUstream stream) const {
  gpu_.driver.check(gpu_.driver.cuMemcpyDtoDAsync(address_, from.address_, bytes_, stream), "cuMemcpyDtoDAsync");
}

bool DeviceBuffer::intact() const {
  return is_guard(gpu_.driver, allocation_, address_) &&
         is_guard(gpu_.driver, address_ + bytes_, address_ + bytes_ + guard_bytes);
}

}  // namespace mhcjit::gpu
