// Host conversions between fp32 and the 16-bit floating-point types, each as its bit pattern.
//
// Towards fp32 every value is exact. Towards 16 bits: round to nearest, ties to even; overflow gives infinity, NaN
// stays NaN (made quiet), the sign of zero is kept. No branch that a vectoriser could not turn into a selection, and no
// arithmetic on fp32 subnormals that matters, so a host that flushes them to zero gets the same bits.
#pragma once

#include <bit>
#include <cstdint>

namespace mhcjit {

constexpr float bf16_to_float(std::uint16_t bf16) { return std::bit_cast<float>(std::uint32_t{bf16} << 16); }

constexpr std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t is_odd = (bits >> 16) & 1;
  const std::uint32_t rounded = (bits + 0x7fff + is_odd) >> 16;
  const std::uint32_t quiet_nan = (bits >> 16) | 0x40;
  return static_cast<std::uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? quiet_nan : rounded);
}

constexpr float fp16_to_float(std::uint16_t fp16) {
  constexpr std::uint32_t bias_step = (127 - 15) << 23;
  const std::uint32_t sign = std::uint32_t{fp16 & 0x8000u} << 16;
  const std::uint32_t magnitude = fp16 & 0x7fffu;
  const std::uint32_t normal = (magnitude << 13) + bias_step;
  const std::uint32_t infinity_or_nan = normal + bias_step;
  // A subnormal is a whole number of 2^-24.
  const std::uint32_t subnormal =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-24f);
  const std::uint32_t finite = magnitude < 0x0400 ? subnormal : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7c00 ? infinity_or_nan : finite));
}

constexpr std::uint16_t float_to_fp16(float value) {
  constexpr std::uint32_t bias_step = (127 - 15) << 23;
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  const std::uint32_t is_odd = (magnitude >> 13) & 1;
  // A carry out of the mantissa raises the exponent: 65520 and above become 0x7c00, infinity, by themselves.
  const std::uint32_t normal = (magnitude - bias_step + 0x0fff + is_odd) >> 13;
  // Below 2^-14: adding 0.5, whose last place is 2^-24, makes the adder round to the spacing of fp16's subnormals.
  const std::uint32_t small = magnitude < 0x38800000 ? magnitude : 0;
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(small) + 0.5f) - 0x3f000000;
  const std::uint32_t quiet_nan = 0x7e00 | ((magnitude >> 13) & 0x03ff);
  const std::uint32_t overflow = magnitude > 0x7f800000 ? quiet_nan : 0x7c00;
  const std::uint32_t finite = magnitude < 0x38800000 ? subnormal : normal;
  return static_cast<std::uint16_t>(sign | (magnitude >= 0x47800000 ? overflow : finite));
}

}  // namespace mhcjit
