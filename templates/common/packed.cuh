// Elements of x that wait in registers, two of a 16-bit type in each. The compiler would give each element of a Vector
// a register of its own, and convert it to float long before its use.
#pragma once

#include <device/matrix.cuh>

template <class Element, int size>
struct Packed {
  static_assert(sizeof(Element) == 2);
  device::Vector<device::u32, size / 2> pairs;

  // `address` is aligned to the whole.
  MHCJIT_DEVICE void load(const Element* address) {
    pairs = device::load<size / 2>(reinterpret_cast<const device::u32*>(address));
  }
  MHCJIT_DEVICE void unpack(float (&floats)[size]) const {
#pragma unroll
    for (int i = 0; i < size; i += 2) {
      const device::u32 pair = device::opaque(pairs[i / 2]);
      floats[i] = device::low_half<Element>(pair);
      floats[i + 1] = device::high_half<Element>(pair);
    }
  }
};

template <class Element>
struct Packed<Element, 1> {
  device::Vector<Element, 1> element;

  MHCJIT_DEVICE void load(const Element* address) { element = device::load<1>(address); }
  MHCJIT_DEVICE void unpack(float (&floats)[1]) const { floats[0] = device::to_float(element[0]); }
};

template <int size>
struct Packed<float, size> {
  device::Vector<float, size> elements;

  MHCJIT_DEVICE void load(const float* address) { elements = device::load<size>(address); }
  MHCJIT_DEVICE void unpack(float (&floats)[size]) const {
#pragma unroll
    for (int i = 0; i < size; ++i) floats[i] = elements[i];
  }
};

template <>
struct Packed<float, 1> {
  device::Vector<float, 1> element;

  MHCJIT_DEVICE void load(const float* address) { element = device::load<1>(address); }
  MHCJIT_DEVICE void unpack(float (&floats)[1]) const { floats[0] = element[0]; }
};
