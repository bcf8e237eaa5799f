#include "warp.h"

#include <bit>
#include <cstring>
#include <span>

#include <fmt/format.h>

#include "shared_address.h"
#include "simulator.h"

namespace mhcjit::sim {
namespace {

std::size_t this_lane() { return static_cast<std::size_t>(position().thread) % warp_size; }

using Rows = std::array<std::array<std::uint32_t, 8>, 2>;

// Rows g and g + 8 of a 16 x 16 matrix whose words begin the `offered` that each lane offers.
Rows rows_of_this_lane(std::span<const std::uint32_t> all, std::size_t offered) {
  Rows rows;
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t word = 0; word < 8; ++word)
      rows[i][word] = all[(this_lane() / 4 * 4 + word % 4) * offered + i + word / 4 * 2];
  return rows;
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

std::array<std::uint32_t, 4> load_matrices(std::uint32_t row, const Place& where) {
  const std::array<std::uint32_t, 1> mine = {row};
  const auto all = warp_exchange("load_matrices", mine, where);
  std::array<std::uint32_t, 4> words;
  for (std::size_t matrix = 0; matrix < 4; ++matrix) {
    const std::uint32_t address = all[8 * matrix + this_lane() / 4];
    const std::byte* from = shared_memory("load_matrices", address, 16, 16, where);
    std::memcpy(&words[matrix], from + this_lane() % 4 * 4, 4);
  }
  return words;
}

Fragments exchange_fragments(const std::array<std::uint32_t, 4>& a, std::uint32_t b0, std::uint32_t b1,
                             const Place& where) {
  const std::array<std::uint32_t, 6> mine = {a[0], a[1], a[2], a[3], b0, b1};
  const auto all = warp_exchange("multiply_add", mine, where);
  const std::size_t q = this_lane() % 4;
  Fragments fragments;
  fragments.rows = rows_of_this_lane(all, mine.size());
  for (std::size_t word = 0; word < 8; ++word) {
    const std::size_t half = word / 4;  // of the 16 rows of the second matrix
    for (std::size_t i = 0; i < 2; ++i)
      fragments.columns[i][word] = all[(4 * (2 * q + i) + word % 4) * mine.size() + 4 + half];
  }
  return fragments;
}

std::array<std::array<std::uint32_t, 8>, 2> exchange_rows(const std::array<std::uint32_t, 4>& a, const Place& where) {
  return rows_of_this_lane(warp_exchange("wgmma", a, where), a.size());
}

}  // namespace mhcjit::sim
