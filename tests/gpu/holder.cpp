#include "holder.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

namespace mhcjit::gpu {
namespace {

constexpr std::size_t left_for_a_memset = 8 << 10;
constexpr std::int64_t max_clocks = std::int64_t{1} << 33;  // about 5 seconds

// Laid out as in holder_source.
struct HolderArgs {
  std::uint32_t* release;
  std::uint32_t* states;
  std::int64_t max_clocks;
};

int attribute(const Gpu& gpu, CUdevice_attribute which) {
  int value = 0;
  gpu.driver.check(gpu.driver.cuDeviceGetAttribute(&value, which, gpu.device), "cuDeviceGetAttribute");
  return value;
}

}  // namespace

Holder::Holder(const Gpu& gpu, unsigned blocks, unsigned cluster_size)
    : blocks_(blocks),
      program_(gpu, holder_source),
      words_(gpu, (1 + blocks) * sizeof(std::uint32_t), 16),
      stream_(gpu) {
  words_.fill(0);
  const LaunchShape shape = {
      .grid_x = blocks,
      .threads_per_block = 32,
      .shared_bytes = static_cast<std::size_t>(attribute(gpu, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)) -
                      left_for_a_memset,
      .cluster_size = cluster_size};
  gpu.driver.check(
      gpu.driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      static_cast<int>(shape.shared_bytes), program_.kernel("hold"), gpu.device),
      "cuKernelSetAttribute");
  const HolderArgs args = {words_.as<std::uint32_t>(), words_.as<std::uint32_t>() + 1, max_clocks};
  program_.launch("hold", shape, &args, stream_);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(1);
  while (!all_are(1))
    if (std::chrono::steady_clock::now() > end) {
      release();
      throw std::runtime_error("the device has no room for all blocks of the holder");
    }
}

Holder::~Holder() {
  try {
    release();
  } catch (const std::runtime_error&) {
    // The device has failed: whoever uses it next says so.
  }
}

bool Holder::release() const {
  const std::uint32_t go = 1;
  words_.upload(std::as_bytes(std::span(&go, 1)));
  stream_.synchronize();
  return all_are(2);
}

bool Holder::all_are(unsigned state) const {
  const std::vector<std::byte> bytes = words_.download(sizeof(std::uint32_t), blocks_ * sizeof(std::uint32_t));
  std::vector<std::uint32_t> states(blocks_);
  std::memcpy(states.data(), bytes.data(), bytes.size());
  return std::ranges::all_of(states, [state](std::uint32_t other) { return other == state; });
}

unsigned multiprocessors(const Gpu& gpu) {
  return static_cast<unsigned>(attribute(gpu, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
}

}  // namespace mhcjit::gpu
