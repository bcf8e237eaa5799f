// Runs a kernel's grid on the host. Two implementations of this header, chosen by what is linked:
//
//   fibers.cpp   One fiber for each thread, in an order drawn from the seed. Finds barriers and shuffles that not every
//                thread reaches, waits that nothing ends, and copies that are used before they have come: these are
//                made at steps drawn from the seed. Fast: for results.
//   threads.cpp  One std::thread for each thread, under ThreadSanitizer: for missing barriers, waits and
//                arrivals. Slow: for tiny shapes.
//
// Clusters run one after another, in an order drawn from the seed; the blocks of one run at the same time, and so do
// all blocks of a cooperative launch. Neither shows what only hardware has: spelling of PTX, fences between proxies,
// caches, register pressure, speed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>

#include "barrier_phase.h"
#include "place.h"

namespace mhcjit::sim {

inline constexpr int warp_size = 32;

struct Launch {
  std::string kernel;  // for messages
  std::uint32_t grid_x = 1;
  std::uint32_t grid_y = 1;
  int threads_per_block = warp_size;  // whole warps
  std::size_t shared_bytes = 0;       // each block gets exactly these, filled with NaN, between guard words
  std::uint64_t seed = 0;
  int cluster_size = 1;  // blocks, side by side in x; a divisor of grid_x
  bool is_cooperative = false;
};

// The most that Launch::cluster_size may be, and the most words that a lane offers to a warp.
inline constexpr int max_cluster_size = 16;
inline constexpr int max_exchange_words = 6;

// What no device would launch; "" when there is nothing. run() asks it.
std::string check(const Launch& launch);

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
  int cluster_rank = 0;
  int cluster_size = 1;
  float* shared = nullptr;
  std::size_t shared_bytes = 0;
};

const Position& position();
void block_barrier(const Place& where);

// Every lane of the warp offers the same number of words and sees those of all: lane l's begin at l * mine.size().
// What is returned holds until the lane's next call but one. Orders no memory access.
std::span<const std::uint32_t> warp_exchange(const char* operation, std::span<const std::uint32_t> mine,
                                             const Place& where);
void warp_barrier(const Place& where);

// A barrier's offset in the block's shared memory is its name; device/async.cuh has checked it and the other operands.
void barrier_init(std::uint32_t barrier, int arrivals, const Place& where);
void barrier_init_fence(const Place& where);
void barrier_step(std::uint32_t barrier, const BarrierStep& step, const Place& where);
enum class Scope { block, cluster };
void barrier_wait(std::uint32_t barrier, int parity, Scope scope, const Place& where);

// What both implementations refuse; device/async.cuh asks.
void check_arrivals(int arrivals, const Place& where);
void check_parity(int parity, const Place& where);

// Happens later.
struct Transfer;
void start(const Transfer& transfer);

// Copies that the thread waits for itself; device/matrix.cuh has checked the operands. Zeros where `from` is nullptr.
void copy_async(std::byte* to, const void* from, std::uint32_t bytes);
void copy_commit();
// For all groups but the `pending` youngest.
void copy_wait(int pending, const Place& where);

// Boxes on their way out of shared memory, which the thread waits for itself; device/async.cuh has checked the
// operands.
struct BoxStore;
void start(const BoxStore& store);
void store_commit();
// For all groups but the `pending` youngest: until they are read, and until they are written.
void store_wait_read(int pending, const Place& where);
void store_wait(int pending, const Place& where);

// Products of a warp group, which the thread waits for itself; device/wgmma.cuh has checked the operands.
void products_ask(std::function<void()> step);
void products_commit();
// For all batches but the `pending` youngest.
void products_wait(int pending, const Place& where);

// The shared memory of the block of this rank, which has not ended.
const std::byte* cluster_memory(std::uint32_t rank, const Place& where);

void cluster_arrive(const Place& where);
void cluster_wait(const Place& where);

// What blocks hand to one another; device/device.cuh has checked the address. A load that finds what the thread has
// found there before lets other threads go on first.
using Words = std::array<std::uint32_t, 4>;
Words load_relaxed(const std::uint32_t* address, const Place& where);
void store_relaxed(std::uint32_t* address, const Words& value);

// For the warp that asks, which all of its warp group have to give alike.
void set_registers(int count, const Place& where);

// A thread's own fault, such as a misaligned access: ends the launch with this text.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace mhcjit::sim
