// An asynchronous copy into the shared memory of a block of the cluster, from the moment it was asked for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>

#include "place.h"
#include "tensor_map.h"

namespace mhcjit::sim {

struct Transfer {
  struct Bytes {
    const void* from;
  };
  struct Box {
    TensorShape shape;
    std::array<std::int32_t, 3> first;
  };
  struct Words {
    std::array<float, 4> value;
  };

  const char* operation = "";
  Place where;
  std::uint32_t rank = 0;  // of the block that is written into
  std::uint32_t to = 0;    // offsets there
  std::uint32_t barrier = 0;
  std::uint32_t bytes = 0;  // that are written, and count on the barrier
  std::variant<Bytes, Box, Words> source;
};

// `shared` begins the memory of the block of that rank.
void write(const Transfer& transfer, std::byte* shared);

}  // namespace mhcjit::sim
