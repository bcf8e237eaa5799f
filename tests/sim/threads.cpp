#include "threads.h"

#include <array>
#include <atomic>
#include <barrier>
#include <bit>
#include <mutex>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "guarded_buffer.h"
#include "random_order.h"
#include "simulator.h"

namespace mhcjit::sim {
namespace {

// A rendezvous of a warp that exchanges values and orders nothing else: a device's shuffle does not make one lane's
// memory accesses seen by another, so ThreadSanitizer must not believe so. Hence relaxed atomics only: each value
// carries the number of its shuffle, so that a reader knows it without any other access.
class WarpExchange {
 public:
  float shuffle_xor(int lane, std::uint32_t number, float value, int lane_mask) {
    slot(lane, number)
        .store(std::uint64_t{number} << 32 | std::bit_cast<std::uint32_t>(value), std::memory_order_relaxed);
    for (int other = 0; other < warp_size; ++other) read(other, number);
    return std::bit_cast<float>(static_cast<std::uint32_t>(read(lane ^ lane_mask, number)));
  }

 private:
  // Two slots a lane: a lane that is in shuffle number + 2 has seen all lanes in number + 1, behind their reads here.
  std::atomic<std::uint64_t>& slot(int lane, std::uint32_t number) { return slots_[lane * 2 + number % 2]; }

  std::uint64_t read(int lane, std::uint32_t number) {
    while (true) {
      const std::uint64_t content = slot(lane, number).load(std::memory_order_relaxed);
      if (content >> 32 >= number) return content;
      std::this_thread::yield();
    }
  }

  std::array<std::atomic<std::uint64_t>, 2 * warp_size> slots_{};
};

struct Block {
  Block(const Launch& launch, int threads)
      : barrier(threads), warps(static_cast<std::size_t>(threads) / warp_size), shared(launch.shared_bytes) {}

  std::barrier<> barrier;
  std::vector<WarpExchange> warps;
  GuardedBuffer shared;
};

struct ThisThread {
  Block* block = nullptr;
  Position position;
  std::uint32_t shuffles = 0;
};

thread_local ThisThread this_thread;

std::mutex barriers_mutex;
std::set<std::string> reached;
std::string deleted;

}  // namespace

std::set<std::string> barriers_reached() { return reached; }
void delete_barrier(const std::string& name) { deleted = name; }

std::string run(const Launch& launch, const std::function<void()>& body) {
  RandomOrder order(launch.seed);
  for (const std::uint64_t index : order.permutation(std::uint64_t{launch.grid_x} * launch.grid_y)) {
    Block block(launch, launch.threads_per_block);
    Position position = {.thread = 0,
                         .block_x = static_cast<std::uint32_t>(index % launch.grid_x),
                         .block_y = static_cast<std::uint32_t>(index / launch.grid_x),
                         .grid_x = launch.grid_x,
                         .grid_y = launch.grid_y,
                         .shared = block.shared.as<float>()};
    {
      std::vector<std::jthread> threads;
      for (position.thread = 0; position.thread < launch.threads_per_block; ++position.thread)
        threads.emplace_back([&block, &body, position] {
          this_thread = {&block, position, 0};
          // A Fault ends the process: the other threads could not be freed from their barriers.
          body();
        });
    }
    if (!block.shared.intact())
      return fmt::format("{} block ({}, {}): wrote outside its {} bytes of shared memory", launch.kernel,
                         position.block_x, position.block_y, launch.shared_bytes);
  }
  return "";
}

const Position& position() { return this_thread.position; }

void block_barrier(const std::source_location& where) {
  const std::string_view path = where.file_name();
  const std::string name = fmt::format("{}:{}", path.substr(path.rfind('/') + 1), where.line());
  // One thread of a block speaks for all: a lock that every thread takes would order their accesses.
  if (this_thread.position.thread == 0) {
    const std::lock_guard lock(barriers_mutex);
    reached.insert(name);
  }
  if (name != deleted) this_thread.block->barrier.arrive_and_wait();
}

float shuffle_xor(float value, int lane_mask, const std::source_location&) {
  const int thread = this_thread.position.thread;
  return this_thread.block->warps[static_cast<std::size_t>(thread) / warp_size].shuffle_xor(
      thread % warp_size, ++this_thread.shuffles, value, lane_mask);
}

}  // namespace mhcjit::sim
