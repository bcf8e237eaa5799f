#include "tensor_map.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include <fmt/format.h>

#include "simulator.h"

namespace mhcjit::sim {
namespace {

constexpr std::uint64_t magic = 0x5a1d0b0c5eed7e45;

struct Encoded {
  std::uint64_t magic;
  TensorShape shape;
};
static_assert(sizeof(Encoded) <= tensor_map_bytes && std::is_trivially_copyable_v<Encoded>);

// The part of a row that lies inside the tensor.
struct Inside {
  std::int64_t first = 0;  // element of the box
  std::int64_t count = 0;
};

Inside inside(const TensorShape& shape, std::int64_t first) {
  const std::int64_t begin = std::max<std::int64_t>(0, -first);
  const std::int64_t end = std::min<std::int64_t>(shape.box[0], static_cast<std::int64_t>(shape.sizes[0]) - first);
  return {begin, std::max<std::int64_t>(0, end - begin)};
}

}  // namespace

std::string encode(const TensorShape& shape, void* map) {
  if (reinterpret_cast<std::uintptr_t>(map) % 64 != 0) return "tensor map is not aligned to 64 bytes";
  if (shape.base == nullptr || reinterpret_cast<std::uintptr_t>(shape.base) % 16 != 0)
    return fmt::format("base address is {}, allowed: multiples of 16", fmt::ptr(shape.base));
  const std::uint32_t element = shape.element_bytes;
  if (element != 1 && element != 2 && element != 4 && element != 8)
    return fmt::format("elements have {} bytes, allowed: 1, 2, 4, 8", element);
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
  const Inside part = inside(shape, first[0]);
  std::array<std::byte, 256 * 8> row;
  for (std::uint32_t index = 0; index < shape.rows(); ++index) {
    std::fill_n(row.begin(), shape.row_bytes(), std::byte{0});
    const std::int64_t second = std::int64_t{first[1]} + index % shape.box[1];
    const std::int64_t third = std::int64_t{first[2]} + index / shape.box[1];
    const bool is_inside = second >= 0 && second < static_cast<std::int64_t>(shape.sizes[1]) && third >= 0 &&
                           third < static_cast<std::int64_t>(shape.sizes[2]);
    if (is_inside && part.count > 0) {
      const std::int64_t offset = (first[0] + part.first) * shape.element_bytes +
                                  second * static_cast<std::int64_t>(shape.strides[0]) +
                                  third * static_cast<std::int64_t>(shape.strides[1]);
      std::memcpy(row.data() + part.first * shape.element_bytes, static_cast<const std::byte*>(shape.base) + offset,
                  part.count * shape.element_bytes);
    }
    for (std::uint32_t chunk = 0; chunk < shape.row_bytes(); chunk += 16) {
      const std::uint32_t at = index * shape.row_bytes() + chunk;
      std::memcpy(to + (swizzled(address + at, shape.swizzle_bytes) - address), row.data() + chunk, 16);
    }
  }
}

}  // namespace mhcjit::sim
