// What the simulator reads in the 128 bytes of a tensor map, where a device reads what cuTensorMapEncodeTiled wrote.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mhcjit/mhcjit.h"

namespace mhcjit::sim {

// A tensor of three dimensions, the innermost first, and the box that a copy takes from it or puts into it.
struct TensorShape {
  const void* base = nullptr;
  std::array<std::uint64_t, 3> sizes = {};    // elements
  std::array<std::uint64_t, 2> strides = {};  // bytes from one element of the second and third dimension to the next
  std::array<std::uint32_t, 3> box = {};      // elements
  mhcjit_dtype dtype = MHCJIT_BF16;
  std::uint32_t swizzle_bytes = 0;  // 64 or 128; 0: none

  std::uint32_t element_bytes() const { return dtype == MHCJIT_FP32 ? 4 : 2; }
  std::uint32_t row_bytes() const { return box[0] * element_bytes(); }
  std::uint32_t rows() const { return box[1] * box[2]; }
  std::uint32_t box_bytes() const { return row_bytes() * rows(); }
};

inline constexpr std::size_t tensor_map_bytes = 128;

// Fills the map, or returns which of the limits documented for cuTensorMapEncodeTiled the shape breaks; "" when none.
// The limits hold for no interleave, element strides of 1 and zero fill. The simulator also refuses a swizzled box
// whose rows are narrower than the swizzle: how they lie in shared memory is not documented.
std::string encode(const TensorShape& shape, void* map);

// Throws Fault for bytes that encode() did not write.
TensorShape decode(const void* map);

// Where the 16 bytes go that would stand at `address` without a swizzle. 128 bytes: bits 4 to 6 of the address
// exclusive-or bits 7 to 9; 64 bytes: bits 4 and 5 exclusive-or bits 7 and 8. The pattern repeats after eight times as
// many bytes.
inline std::uint32_t swizzled(std::uint32_t address, std::uint32_t swizzle_bytes) {
  return swizzle_bytes == 0 ? address : address ^ (address >> 7 & (swizzle_bytes / 16 - 1)) << 4;
}

// Writes the box whose first element is at `first` to `to`, the memory behind the shared address `address`: rows one
// after another, zero where the tensor ends.
void copy_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, std::byte* to, std::uint32_t address);

// Reads what copy_box writes: rows one after another.
std::vector<std::byte> read_box(const TensorShape& shape, const std::byte* from, std::uint32_t address);

// Write such rows into the tensor, or add them with one rounding, as far as they lie inside it.
void write_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, const std::vector<std::byte>& rows);
void add_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, const std::vector<std::byte>& rows);

}  // namespace mhcjit::sim
