// Tensors as the bytes that a device or a file holds, to and from vectors of double.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mhcjit/mhcjit.h"

namespace mhcjit::oracle {

// The dtype of every tensor follows from these (oracle/tensors.h); from that of x alone if nothing else is given.
struct DTypes {
  mhcjit_dtype x;
  bool fp32_dx;

  DTypes(mhcjit_dtype x_dtype, bool has_fp32_dx = false) : x(x_dtype), fp32_dx(has_fp32_dx) {}
};

std::size_t bytes_of(mhcjit_dtype dtype);

// `value` rounded to fp32 and from there to `dtype`.
double round_to(double value, mhcjit_dtype dtype);

// The distance of neighbouring numbers of `dtype`, a type of 16 bits, around `value`: one unit in the last place.
double spacing(double value, mhcjit_dtype dtype);

// The largest number of `dtype`, a type of 16 bits, that is not infinity.
double largest_number(mhcjit_dtype dtype);

// Little-endian, packed. Rounds as round_to() does; values that round_to() made are exact.
std::vector<std::byte> to_storage(std::span<const double> values, mhcjit_dtype dtype);

// Reads `count` elements; `storage` needs no alignment.
std::vector<double> from_storage(const void* storage, std::int64_t count, mhcjit_dtype dtype);

}  // namespace mhcjit::oracle
