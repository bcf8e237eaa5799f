#include "tensor_map.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <fmt/format.h>

#include "simulator.h"
#include "support/half.h"

namespace mhcjit::sim {
namespace {

constexpr std::uint64_t magic = 0x5a1d0b0c5eed7e45;

struct Encoded {
  std::uint64_t magic;
  TensorShape shape;
};
static_assert(sizeof(Encoded) <= tensor_map_bytes && std::is_trivially_copyable_v<Encoded>);

// Calls visit(byte of the box's rows, byte of the tensor, bytes) for the part of each row that lies inside the tensor.
template <typename Visit>
void for_each_part_inside(const TensorShape& shape, const std::array<std::int32_t, 3>& first, const Visit& visit) {
  const auto size = [&](int dimension) { return static_cast<std::int64_t>(shape.sizes[dimension]); };
  const std::int64_t begin = std::max<std::int64_t>(0, -std::int64_t{first[0]});
  const std::int64_t end = std::min<std::int64_t>(shape.box[0], size(0) - first[0]);
  if (begin >= end) return;
  const std::int64_t element_bytes = shape.element_bytes();
  for (std::uint32_t row = 0; row < shape.rows(); ++row) {
    const std::int64_t second = std::int64_t{first[1]} + row % shape.box[1];
    const std::int64_t third = std::int64_t{first[2]} + row / shape.box[1];
    if (second < 0 || second >= size(1) || third < 0 || third >= size(2)) continue;
    visit(row * shape.row_bytes() + begin * element_bytes,
          (first[0] + begin) * element_bytes + second * static_cast<std::int64_t>(shape.strides[0]) +
              third * static_cast<std::int64_t>(shape.strides[1]),
          (end - begin) * element_bytes);
  }
}

// Calls visit(byte of the box's rows, byte of shared memory behind `address`) for each 16 bytes.
template <typename Visit>
void for_each_chunk(const TensorShape& shape, std::uint32_t address, const Visit& visit) {
  for (std::uint32_t at = 0; at < shape.box_bytes(); at += 16)
    visit(at, swizzled(address + at, shape.swizzle_bytes) - address);
}

const std::byte* tensor(const TensorShape& shape) { return static_cast<const std::byte*>(shape.base); }
// Maps are const because most are read only.
std::byte* writable_tensor(const TensorShape& shape) { return const_cast<std::byte*>(tensor(shape)); }

float add(float a, float b) { return a + b; }
// A float has 24 bits, no less than twice the 11 or 8 of a half and two more: rounding the sum to float first changes
// no half.
template <float (*to_float)(std::uint16_t), std::uint16_t (*from_float)(float)>
std::uint16_t add_halves(std::uint16_t a, std::uint16_t b) {
  return from_float(to_float(a) + to_float(b));
}

template <typename T>
void add_elements(std::byte* to, const std::byte* from, std::int64_t bytes, T (*add)(T, T)) {
  for (std::int64_t at = 0; at < bytes; at += sizeof(T)) {
    T before;
    T added;
    std::memcpy(&before, to + at, sizeof(T));
    std::memcpy(&added, from + at, sizeof(T));
    const T sum = add(before, added);
    std::memcpy(to + at, &sum, sizeof(T));
  }
}

}  // namespace

std::string encode(const TensorShape& shape, void* map) {
  if (reinterpret_cast<std::uintptr_t>(map) % 64 != 0) return "tensor map is not aligned to 64 bytes";
  if (shape.base == nullptr || reinterpret_cast<std::uintptr_t>(shape.base) % 16 != 0)
    return fmt::format("base address is {}, allowed: multiples of 16", fmt::ptr(shape.base));
  for (const std::uint64_t size : shape.sizes)
    if (size == 0 || size > std::uint64_t{1} << 32) return fmt::format("a size is {}, allowed: 1 to 2^32", size);
  for (const std::uint64_t stride : shape.strides)
    if (stride % 16 != 0 || stride >= std::uint64_t{1} << 40)
      return fmt::format("a stride is {} bytes, allowed: multiples of 16 below 2^40", stride);
  for (const std::uint32_t size : shape.box)
    if (size == 0 || size > 256) return fmt::format("a side of the box is {}, allowed: 1 to 256", size);
  if (shape.row_bytes() % 16 != 0)
    return fmt::format("rows of the box have {} bytes, allowed: multiples of 16", shape.row_bytes());
  const std::uint32_t swizzle = shape.swizzle_bytes;
  if (swizzle != 0 && swizzle != 64 && swizzle != 128)
    return fmt::format("the swizzle is of {} bytes, the simulator knows 0, 64 and 128", swizzle);
  if (swizzle != 0 && shape.row_bytes() > swizzle)
    return fmt::format("rows of the box have {} bytes, allowed with the swizzle: up to {}", shape.row_bytes(), swizzle);
  if (swizzle != 0 && shape.row_bytes() < swizzle)
    return fmt::format("rows of the box have {} bytes, the simulator knows the swizzle for {}", shape.row_bytes(),
                       swizzle);

  const Encoded encoded = {magic, shape};
  std::memset(map, 0, tensor_map_bytes);
  std::memcpy(map, &encoded, sizeof(encoded));
  return "";
}

TensorShape decode(const void* map) {
  Encoded encoded;
  std::memcpy(&encoded, map, sizeof(encoded));
  if (encoded.magic != magic) throw Fault("a tensor map that sim::encode did not write");
  return encoded.shape;
}

void copy_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, std::byte* to,
              std::uint32_t address) {
  std::vector<std::byte> rows(shape.box_bytes());
  for_each_part_inside(shape, first, [&](std::int64_t at, std::int64_t of_tensor, std::int64_t bytes) {
    std::memcpy(rows.data() + at, tensor(shape) + of_tensor, bytes);
  });
  for_each_chunk(shape, address,
                 [&](std::uint32_t at, std::uint32_t swizzled) { std::memcpy(to + swizzled, rows.data() + at, 16); });
}

std::vector<std::byte> read_box(const TensorShape& shape, const std::byte* from, std::uint32_t address) {
  std::vector<std::byte> rows(shape.box_bytes());
  for_each_chunk(shape, address,
                 [&](std::uint32_t at, std::uint32_t swizzled) { std::memcpy(rows.data() + at, from + swizzled, 16); });
  return rows;
}

void write_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, const std::vector<std::byte>& rows) {
  for_each_part_inside(shape, first, [&](std::int64_t at, std::int64_t of_tensor, std::int64_t bytes) {
    std::memcpy(writable_tensor(shape) + of_tensor, rows.data() + at, bytes);
  });
}

void add_box(const TensorShape& shape, const std::array<std::int32_t, 3>& first, const std::vector<std::byte>& rows) {
  for_each_part_inside(shape, first, [&](std::int64_t at, std::int64_t of_tensor, std::int64_t bytes) {
    std::byte* const to = writable_tensor(shape) + of_tensor;
    const std::byte* const from = rows.data() + at;
    switch (shape.dtype) {
      case MHCJIT_BF16: return add_elements(to, from, bytes, add_halves<bf16_to_float, float_to_bf16>);
      case MHCJIT_FP16: return add_elements(to, from, bytes, add_halves<fp16_to_float, float_to_fp16>);
      case MHCJIT_FP32: return add_elements(to, from, bytes, add);
    }
  });
}

}  // namespace mhcjit::sim
