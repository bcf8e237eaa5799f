#include "shared_address.h"

#include <fmt/format.h>

namespace mhcjit::sim {
namespace {

// 0xc1r00000: r is the rank, below it the address's low 20 bits.
constexpr std::uint32_t cluster_window = 0xc1000000;
constexpr std::uint32_t low_bits = 0xfffff;

}  // namespace

void refuse_shared(const char* operation, std::uint32_t address, std::uint32_t bytes, std::uint32_t alignment,
                   const Place& where) {
  if (address % alignment != 0)
    throw Fault(fmt::format("{} at {}: shared address {:#x} is not aligned to {} bytes", operation, to_string(where),
                            address, alignment));
  throw Fault(
      fmt::format("{} at {}: {} bytes at shared address {:#x} are outside the block's {} bytes, which begin at {:#x}",
                  operation, to_string(where), bytes, address, position().shared_bytes, shared_base));
}

std::uint32_t cluster_address(std::uint32_t address, int rank, const Place& where) {
  shared_offset("in_block", address, 0, 1, where);
  if (rank < 0 || rank >= position().cluster_size)
    throw Fault(fmt::format("in_block at {}: rank {} in a cluster of {} blocks", to_string(where), rank,
                            position().cluster_size));
  return cluster_window | static_cast<std::uint32_t>(rank) << 20 | (address & low_bits);
}

void check_multiple_of_16(const char* operation, std::int64_t byte, const Place& where) {
  if (byte % 16 != 0)
    throw Fault(fmt::format("{} at {}: begins at byte {} of a row, which is no multiple of 16", operation,
                            to_string(where), byte));
}

ClusterPlace cluster_place(std::uint32_t cluster_address, const Place& where) {
  const ClusterPlace place = {cluster_address >> 20 & 0xf, (shared_base & ~low_bits) | (cluster_address & low_bits)};
  if ((cluster_address & 0xff000000) != cluster_window ||
      place.rank >= static_cast<std::uint32_t>(position().cluster_size))
    throw Fault(fmt::format("{:#x} at {} is no address that in_block returned", cluster_address, to_string(where)));
  return place;
}

}  // namespace mhcjit::sim
