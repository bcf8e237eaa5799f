// Shared memory by address: 32 bits, as in device/matrix.cuh. An address is no offset, so that one that was never
// derived from the base is caught; the base is aligned to 1024 bytes and to no more. Each access is checked.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simulator.h"

namespace mhcjit::sim {

inline constexpr std::uint32_t shared_base = 0x51000400;
inline constexpr std::size_t max_shared_bytes = 0xffc00;

// Throws the Fault of an access that is_shared() refuses.
[[noreturn]] void refuse_shared(const char* operation, std::uint32_t address, std::uint32_t bytes,
                                std::uint32_t alignment, const Place& where);

// The offset of `bytes` bytes in the block's shared memory; throws Fault when they are not all inside it, or not
// aligned.
inline std::uint32_t shared_offset(const char* operation, std::uint32_t address, std::uint32_t bytes,
                                   std::uint32_t alignment, const Place& where) {
  const std::size_t size = position().shared_bytes;
  const std::uint32_t offset = address - shared_base;
  if (offset > size || bytes > size - offset || address % alignment != 0)
    refuse_shared(operation, address, bytes, alignment, where);
  return offset;
}

inline std::byte* shared_memory(const char* operation, std::uint32_t address, std::uint32_t bytes,
                                std::uint32_t alignment, const Place& where) {
  return reinterpret_cast<std::byte*>(position().shared) + shared_offset(operation, address, bytes, alignment, where);
}

// A row of a tensor is read from a multiple of 16 bytes on. Throws Fault.
void check_multiple_of_16(const char* operation, std::int64_t byte, const Place& where);

// ---- Addresses in any block of the cluster -------------------------------------------------------------------------

struct ClusterPlace {
  std::uint32_t rank = 0;
  std::uint32_t address = 0;  // as the block of that rank has it
};

std::uint32_t cluster_address(std::uint32_t address, int rank, const Place& where);
ClusterPlace cluster_place(std::uint32_t cluster_address, const Place& where);

}  // namespace mhcjit::sim
