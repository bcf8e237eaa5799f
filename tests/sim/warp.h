// What the lanes of a warp do together, on top of an exchange of words. Each throws Fault for operands that a device
// gives no meaning to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "place.h"

namespace mhcjit::sim {

float shuffle_xor(float value, int lane_mask, const Place& where);
float shuffle(float value, int lane, const Place& where);
bool any_lane(bool value, const Place& where);
std::array<std::uint32_t, 4> load_matrices(std::uint32_t row, const Place& where);
std::array<std::uint32_t, 4> load_matrices_transposed(std::uint32_t row, const Place& where);
void store_matrices_transposed(std::uint32_t row, const std::array<std::uint32_t, 4>& words, const Place& where);

// The elements of a 16 x K and a K x 8 matrix, two to a word, that one lane needs for its four sums. K is 8 or 16.
template <std::size_t K>
struct Fragments {
  std::array<std::array<std::uint32_t, K / 2>, 2> rows;     // of the first matrix: rows g and g + 8
  std::array<std::array<std::uint32_t, K / 2>, 2> columns;  // of the second: columns 2q and 2q + 1
};

// Every lane gives its words of the first matrix and then of the second, in the layout that device/matrix.cuh
// documents.
template <std::size_t K>
Fragments<K> exchange_fragments(const std::array<std::uint32_t, K * 3 / 8>& mine, const Place& where);

// The rows g and g + 8 of a 16 x 16 matrix of which every lane gives its words, two elements to a word.
std::array<std::array<std::uint32_t, 8>, 2> exchange_rows(const std::array<std::uint32_t, 4>& a, const Place& where);

}  // namespace mhcjit::sim
