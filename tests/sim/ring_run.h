// Runs ring_kernel.cuh on numbers of which every sum is exact.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ring_kernel.cuh"

namespace mhcjit::sim {

// Returns what went wrong: in the simulator or with the results; "" when nothing.
inline std::string run_ring(int blocks, int tiles, std::uint64_t seed) {
  const int columns = blocks * ring::columns;
  // The last rows of the last tile are outside the tensor.
  const int rows = tiles * ring::rows - 3;
  struct alignas(16) Chunk {
    std::uint16_t elements[8];
  };
  std::vector<Chunk> x(static_cast<std::size_t>(rows) * columns / 8);
  std::vector<device::Vector<float, 4>> factors(columns / 4);
  const auto value = [](int row, int column) { return static_cast<float>((row * 7 + column * 3) % 16); };
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < columns; ++column)
      x[(row * columns + column) / 8].elements[column % 8] = device::from_float<device::bf16>(value(row, column)).bits;
  for (int column = 0; column < columns; ++column) factors[column / 4][column % 4] = static_cast<float>(column % 8);

  using Rows = std::array<float, ring::rows>;
  std::vector<Rows> out(tiles);
  std::vector<Rows> totals(blocks);
  ring::Args args = {.x = {}, .out = {}, .totals = {}, .factors = &factors[0][0], .tiles = tiles, .blocks = blocks};
  const auto encode_rows = [](const std::vector<Rows>& sums, device::TensorMap& map) {
    return encode({.base = sums.data(),
                   .sizes = {ring::rows, sums.size(), 1},
                   .strides = {sizeof(Rows), sizeof(Rows) * sums.size()},
                   .box = {ring::rows, 1, 1},
                   .dtype = MHCJIT_FP32},
                  map.opaque);
  };
  std::string wrong = encode_rows(out, args.out);
  if (wrong.empty()) wrong = encode_rows(totals, args.totals);
  if (!wrong.empty()) return wrong;
  wrong = encode({.base = x.data(),
                  .sizes = {static_cast<std::uint64_t>(columns), static_cast<std::uint64_t>(rows), 1},
                  .strides = {static_cast<std::uint64_t>(columns) * 2, static_cast<std::uint64_t>(columns) * 2},
                  .box = {ring::columns, ring::rows, 1},
                  .swizzle_bytes = 128},
                 args.x.opaque);
  if (!wrong.empty()) return wrong;
  wrong = run({.kernel = "ring",
               .grid_x = static_cast<std::uint32_t>(blocks),
               .threads_per_block = ring::threads,
               .shared_bytes = ring::shared_bytes,
               .seed = seed,
               .cluster_size = blocks},
              [&] { ring::Block(args).run(); });
  if (!wrong.empty()) return wrong;
  std::vector<Rows> expected(blocks);
  for (int row = 0; row < tiles * ring::rows; ++row) {
    float sum = 0.0f;
    for (int column = 0; row < rows && column < columns; ++column)
      sum += value(row, column) * static_cast<float>(column % 8);
    const int tile = row / ring::rows;
    const float result = out[tile][row % ring::rows];
    if (result != sum) return "row " + std::to_string(row) + " is " + std::to_string(result);
    expected[tile % blocks][row % ring::rows] += sum;
  }
  return totals == expected ? "" : "wrong totals";
}

}  // namespace mhcjit::sim
