// fp32 values as the sum of two terms of a 16-bit type, which is that of x or bf16: products with x then keep fp32's
// accuracy. Values that become fp16, whose range is narrow, are first scaled by a power of two.
#pragma once

#include <device/matrix.cuh>

// The type of the terms.
template <class Element>
struct OperandOf {
  using Type = Element;
};
template <>
struct OperandOf<float> {
  using Type = device::bf16;
};

// The terms of a pair of values, each a pair of elements in a word.
struct TwoTerms {
  device::u32 high;
  device::u32 low;
};

template <class Element>
MHCJIT_DEVICE TwoTerms two_terms(float first, float second) {
  const device::u32 high = device::pack<Element>(first, second);
  const device::u32 low =
      device::pack<Element>(first - device::low_half<Element>(high), second - device::high_half<Element>(high));
  return {high, low};
}

// The larger of `largest` >= 0 and |value|.
MHCJIT_DEVICE float larger_magnitude(float largest, float value) {
  const float magnitude = value < 0.0f ? -value : value;
  return magnitude > largest ? magnitude : largest;
}

// The largest of `largest` >= 0 over the warp, in every lane.
MHCJIT_DEVICE float warp_largest(float largest) {
#pragma unroll
  for (int mask = device::warp_size / 2; mask > 0; mask /= 2)
    largest = larger_magnitude(largest, device::shuffle_xor(largest, mask));
  return largest;
}

// A power of two that brings `largest` >= 0 near 2^14, and its inverse. Infinity and NaN stay what they are.
MHCJIT_DEVICE float power_of_two_scale(float largest, float& inverse) {
  const int exponent = device::from_float<device::bf16>(largest).bits >> 7;
  // 2^14 has the exponent 141; both factors stay normal numbers.
  const int wanted = 141 - exponent + 127;
  const int limited = wanted < 1 ? 1 : wanted > 253 ? 253 : wanted;
  inverse = device::to_float(device::bf16{static_cast<device::u16>((254 - limited) << 7)});
  return device::to_float(device::bf16{static_cast<device::u16>(limited << 7)});
}

// For a power of two whose inverse is a normal number.
MHCJIT_DEVICE float inverse_power_of_two(float value) {
  const int exponent = device::from_float<device::bf16>(value).bits >> 7;
  return device::to_float(device::bf16{static_cast<device::u16>((254 - exponent) << 7)});
}
