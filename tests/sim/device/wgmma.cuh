// Device vocabulary, on the host: the names of templates/device/wgmma.cuh. The meaning of each stands there.
//
// Each warp makes its own rows of the products, as it commits them or as it waits for them: what a warp of the group
// leaves out, the others do not notice. Conformance: multiply_add's.
#pragma once

#include <device/matrix.cuh>

#include <array>

namespace device {

inline void wgmma_fence() {}
inline void wgmma_commit() { mhcjit::sim::products_commit(); }
template <int pending>
void wgmma_wait(const Place& where = Place::current()) {
  mhcjit::sim::products_wait(pending, where);
}

template <int blocks>
void wgmma_wait_for(float (&)[blocks][4], const Place& where = Place::current()) {
  mhcjit::sim::products_wait(0, where);
}

template <class Element, int columns>
void wgmma(float (*sums)[4], const Vector<u32, 4>& a, SharedAddress b, int row_stride,
           const Place& where = Place::current()) {
  static_assert(columns == 8 || columns == 16 || columns == 32 || columns == 64);
  const auto rows = mhcjit::sim::exchange_rows(std::bit_cast<std::array<std::uint32_t, 4>>(a), where);
  std::array<const std::byte*, 2> halves;  // of eight rows of B
  for (int half = 0; half < 2; ++half)
    halves[half] =
        mhcjit::sim::shared_memory("wgmma", b + static_cast<u32>(half * row_stride), columns * 16, 16, where);
  const int quad = thread_index() % 4;
  mhcjit::sim::products_ask([=] {
    for (int block = 0; block < columns / 8; ++block) {
      for (int e = 0; e < 2; ++e) {
        std::array<u32, 8> column;  // of B, two rows to a word
        for (int half = 0; half < 2; ++half)
          std::memcpy(&column[4 * half], halves[half] + (block * 8 + 2 * quad + e) * 16, 16);
        for (int row = 0; row < 2; ++row) {
          float& sum = sums[block][2 * row + e];
          sum = sum_of_products<Element>(sum, rows[row], column);
        }
      }
    }
  });
}

}  // namespace device
