#include "oracle/storage.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "support/half.h"

namespace mhcjit::oracle {
namespace {

static_assert(std::endian::native == std::endian::little, "storage is little-endian");

template <typename Element, typename Encode>
std::vector<std::byte> encode_all(std::span<const double> values, Encode encode) {
  std::vector<std::byte> storage(values.size() * sizeof(Element));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Element element = encode(static_cast<float>(values[i]));
    std::memcpy(&storage[i * sizeof(Element)], &element, sizeof(Element));
  }
  return storage;
}

template <typename Element, typename Decode>
std::vector<double> decode_all(const void* storage, std::int64_t count, Decode decode) {
  std::vector<double> values(static_cast<std::size_t>(count));
  const auto* bytes = static_cast<const std::byte*>(storage);
  for (std::size_t i = 0; i < values.size(); ++i) {
    Element element;
    std::memcpy(&element, bytes + i * sizeof(Element), sizeof(Element));
    values[i] = decode(element);
  }
  return values;
}

float same(float value) { return value; }

// The normal numbers of a type: 1 <= |number| / 2^exponent < 2, in steps of 2^-mantissa_bits.
struct Format {
  int mantissa_bits;
  int least_exponent;
  int largest_exponent;
};

Format format_of(mhcjit_dtype dtype) { return dtype == MHCJIT_BF16 ? Format{7, -126, 127} : Format{10, -14, 15}; }

}  // namespace

std::size_t bytes_of(mhcjit_dtype dtype) { return dtype == MHCJIT_FP32 ? 4 : 2; }

double round_to(double value, mhcjit_dtype dtype) {
  const auto single = static_cast<float>(value);
  switch (dtype) {
    case MHCJIT_BF16: return bf16_to_float(float_to_bf16(single));
    case MHCJIT_FP16: return fp16_to_float(float_to_fp16(single));
    case MHCJIT_FP32: break;
  }
  return single;
}

double spacing(double value, mhcjit_dtype dtype) {
  const Format format = format_of(dtype);
  // Zero, whose exponent is the least of all, has the spacing of the subnormal numbers.
  const int exponent = value == 0.0 ? format.least_exponent : std::ilogb(value);
  return std::ldexp(1.0, std::clamp(exponent, format.least_exponent, format.largest_exponent) - format.mantissa_bits);
}

double largest_number(mhcjit_dtype dtype) {
  const Format format = format_of(dtype);
  return std::ldexp(2.0 - std::ldexp(1.0, -format.mantissa_bits), format.largest_exponent);
}

std::vector<std::byte> to_storage(std::span<const double> values, mhcjit_dtype dtype) {
  switch (dtype) {
    case MHCJIT_BF16: return encode_all<std::uint16_t>(values, float_to_bf16);
    case MHCJIT_FP16: return encode_all<std::uint16_t>(values, float_to_fp16);
    case MHCJIT_FP32: break;
  }
  return encode_all<float>(values, same);
}

std::vector<double> from_storage(const void* storage, std::int64_t count, mhcjit_dtype dtype) {
  switch (dtype) {
    case MHCJIT_BF16: return decode_all<std::uint16_t>(storage, count, bf16_to_float);
    case MHCJIT_FP16: return decode_all<std::uint16_t>(storage, count, fp16_to_float);
    case MHCJIT_FP32: break;
  }
  return decode_all<float>(storage, count, same);
}

}  // namespace mhcjit::oracle
