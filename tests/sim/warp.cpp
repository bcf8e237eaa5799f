#include "warp.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "shared_address.h"
#include "simulator.h"

namespace mhcjit::sim {
namespace {

std::size_t this_lane() { return static_cast<std::size_t>(position().thread) % warp_size; }

// Rows g and g + 8 of a matrix of 16 rows whose words begin the `offered` that each lane offers.
template <std::size_t words>
std::array<std::array<std::uint32_t, words>, 2> rows_of_this_lane(std::span<const std::uint32_t> all,
                                                                  std::size_t offered) {
  std::array<std::array<std::uint32_t, words>, 2> rows;
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t word = 0; word < words; ++word)
      rows[i][word] = all[(this_lane() / 4 * 4 + word % 4) * offered + i + word / 4 * 2];
  return rows;
}

// Each lane reads the row whose address it gives, so that all are read before a lane goes on.
constexpr std::size_t words_of_row = 4;
std::span<const std::uint32_t> exchange_matrix_rows(const char* operation, std::uint32_t row, const Place& where) {
  std::array<std::uint32_t, words_of_row> mine;
  std::memcpy(mine.data(), shared_memory(operation, row, sizeof(mine), sizeof(mine), where), sizeof(mine));
  return warp_exchange(operation, mine, where);
}

}  // namespace

float shuffle_xor(float value, int lane_mask, const Place& where) {
  const std::array<std::uint32_t, 2> mine = {std::bit_cast<std::uint32_t>(value),
                                             static_cast<std::uint32_t>(lane_mask)};
  const auto all = warp_exchange("shuffle", mine, where);
  const auto first = static_cast<int>(all[1]);
  if (lane_mask != first || lane_mask < 1 || lane_mask >= warp_size)
    throw Fault(fmt::format("shuffle {} with mask {} in lane {} and {} in lane 0, allowed: one mask, 1 to 31",
                            to_string(where), lane_mask, this_lane(), first));
  return std::bit_cast<float>(all[2 * (this_lane() ^ static_cast<std::size_t>(lane_mask))]);
}

float shuffle(float value, int lane, const Place& where) {
  const std::array<std::uint32_t, 1> mine = {std::bit_cast<std::uint32_t>(value)};
  const auto all = warp_exchange("shuffle", mine, where);
  if (lane < 0 || lane >= warp_size)
    throw Fault(fmt::format("shuffle {} from lane {}, allowed: 0 to 31", to_string(where), lane));
  return std::bit_cast<float>(all[lane]);
}

bool any_lane(bool value, const Place& where) {
  const std::array<std::uint32_t, 1> mine = {value ? 1u : 0u};
  return std::ranges::count(warp_exchange("any_lane", mine, where), 1u) > 0;
}

std::array<std::uint32_t, 4> load_matrices(std::uint32_t row, const Place& where) {
  const auto all = exchange_matrix_rows("load_matrices", row, where);
  std::array<std::uint32_t, 4> words;
  for (std::size_t matrix = 0; matrix < 4; ++matrix)
    words[matrix] = all[(8 * matrix + this_lane() / 4) * words_of_row + this_lane() % 4];
  return words;
}

std::array<std::uint32_t, 4> load_matrices_transposed(std::uint32_t row, const Place& where) {
  const auto all = exchange_matrix_rows("load_matrices_transposed", row, where);
  const std::size_t column = this_lane() / 4;
  std::array<std::uint32_t, 4> words;
  for (std::size_t matrix = 0; matrix < 4; ++matrix) {
    std::array<std::uint16_t, 2> elements;
    for (std::size_t i = 0; i < 2; ++i) {
      const std::uint32_t pair = all[(8 * matrix + this_lane() % 4 * 2 + i) * words_of_row + column / 2];
      elements[i] = static_cast<std::uint16_t>(pair >> column % 2 * 16);
    }
    words[matrix] = std::bit_cast<std::uint32_t>(elements);
  }
  return words;
}

// Each lane writes the row whose address it gives.
void store_matrices_transposed(std::uint32_t row, const std::array<std::uint32_t, 4>& words, const Place& where) {
  constexpr const char* operation = "store_matrices_transposed";
  const auto all = warp_exchange(operation, words, where);
  std::array<std::uint16_t, 8> elements;
  for (std::size_t column = 0; column < 8; ++column) {
    const std::size_t lane = column * 4 + this_lane() % 8 / 2;
    const std::uint32_t pair = all[lane * words.size() + this_lane() / 8];
    elements[column] = static_cast<std::uint16_t>(pair >> this_lane() % 2 * 16);
  }
  std::memcpy(shared_memory(operation, row, 16, 16, where), elements.data(), 16);
}

template <std::size_t K>
Fragments<K> exchange_fragments(const std::array<std::uint32_t, K * 3 / 8>& mine, const Place& where) {
  const auto all = warp_exchange("multiply_add", mine, where);
  const std::size_t q = this_lane() % 4;
  Fragments<K> fragments;
  fragments.rows = rows_of_this_lane<K / 2>(all, mine.size());
  for (std::size_t word = 0; word < K / 2; ++word) {
    const std::size_t part = word / 4;  // eight rows of the second matrix
    for (std::size_t i = 0; i < 2; ++i)
      fragments.columns[i][word] = all[(4 * (2 * q + i) + word % 4) * mine.size() + K / 4 + part];
  }
  return fragments;
}
template Fragments<8> exchange_fragments<8>(const std::array<std::uint32_t, 3>& mine, const Place& where);
template Fragments<16> exchange_fragments<16>(const std::array<std::uint32_t, 6>& mine, const Place& where);

std::array<std::array<std::uint32_t, 8>, 2> exchange_rows(const std::array<std::uint32_t, 4>& a, const Place& where) {
  return rows_of_this_lane<8>(warp_exchange("wgmma", a, where), a.size());
}

}  // namespace mhcjit::sim
