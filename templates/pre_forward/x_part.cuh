// Four consecutive columns of a token, as they stand in shared memory, as operands of the tensor cores.
//
// Lane 4 g + q has four columns of a step of 16, 4q to 4q + 3, of token g of a group of eight: rows 2q, 2q + 1 of
// operand B are the first two, rows 2q + 8, 2q + 9 the others. phi's columns have to be in the same order.
#pragma once

#include <common/two_terms.cuh>
#include <device/matrix.cuh>

template <class Element>
struct PartOf {
  using Type = device::Vector<device::u32, 2>;
  static constexpr int terms = 1;

  static MHCJIT_DEVICE Type load(device::SharedAddress address) { return device::load_shared_words<2>(address); }

  static MHCJIT_DEVICE float add_squares(const Type& part, float sum) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float low = device::low_half<Element>(part[i]);
      const float high = device::high_half<Element>(part[i]);
      sum = device::fma(low, low, sum);
      sum = device::fma(high, high, sum);
    }
    return sum;
  }

  static MHCJIT_DEVICE void operands(const Type& part, device::u32 (&b)[terms][2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) b[0][i] = part[i];
  }
};

// Elements of fp32 become two terms, as those of phi do: the high and the low terms are an operand each.
template <>
struct PartOf<float> {
  using Type = device::Vector<float, 4>;
  static constexpr int terms = 2;

  static MHCJIT_DEVICE Type load(device::SharedAddress address) { return device::load_shared_4(address); }

  static MHCJIT_DEVICE float add_squares(const Type& part, float sum) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum = device::fma(part[i], part[i], sum);
    return sum;
  }

  static MHCJIT_DEVICE void operands(const Type& part, device::u32 (&b)[terms][2]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const TwoTerms pair = two_terms<OperandOf<float>::Type>(part[2 * i], part[2 * i + 1]);
      b[0][i] = pair.high;
      b[1][i] = pair.low;
    }
  }
};
