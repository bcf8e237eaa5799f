// Runs a kernel's grid on the host. Two implementations of this header, chosen by what is linked:
//
//   fibers.cpp   One fiber for each thread of a block, in an order drawn from the seed. Finds barriers and shuffles
//                that not every thread reaches. Fast: for results.
//   threads.cpp  One std::thread for each thread of a block, under ThreadSanitizer: for missing barriers. Slow: for
//                tiny shapes.
//
// Blocks run one after another, in an order drawn from the seed. Neither shows what only hardware has: spelling of PTX,
// caches, register pressure, speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace mhcjit::sim {

inline constexpr int warp_size = 32;

struct Launch {
  std::string kernel;  // for messages
  std::uint32_t grid_x = 1;
  std::uint32_t grid_y = 1;
  int threads_per_block = warp_size;  // whole warps
  std::size_t shared_bytes = 0;       // each block gets exactly these, filled with NaN, between guard words
  std::uint64_t seed = 0;
};

// Calls body() once as each thread of the grid. Returns the first fault with its kernel, block and thread; "" when
// there was none. The launch ends at the first fault.
std::string run(const Launch& launch, const std::function<void()>& body);

// ---- For the device vocabulary: what a running thread asks --------------------------------------------------------

struct Position {
  int thread = 0;
  std::uint32_t block_x = 0;
  std::uint32_t block_y = 0;
  std::uint32_t grid_x = 1;
  std::uint32_t grid_y = 1;
  float* shared = nullptr;
};

const Position& position();
void block_barrier(const std::source_location& where);
float shuffle_xor(float value, int lane_mask, const std::source_location& where);

// A thread's own fault, such as a misaligned access: ends the launch with this text.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace mhcjit::sim
