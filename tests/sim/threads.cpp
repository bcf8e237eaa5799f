#include "threads.h"

#include <array>
#include <atomic>
#include <barrier>
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
  // `all` receives the words of every lane.
  void exchange(int lane, std::uint32_t number, std::span<const std::uint32_t> mine, std::uint32_t* all) {
    for (std::size_t i = 0; i < mine.size(); ++i)
      word(lane, number, i).store(std::uint64_t{number} << 32 | mine[i], std::memory_order_relaxed);
    for (int other = 0; other < warp_size; ++other)
      for (std::size_t i = 0; i < mine.size(); ++i) *all++ = read(word(other, number, i), number);
  }

 private:
  // Two exchanges: a lane that is in exchange number + 2 has seen all lanes in number + 1, behind their reads here.
  std::atomic<std::uint64_t>& word(int lane, std::uint32_t number, std::size_t index) {
    return words_[number % 2][lane][index];
  }

  static std::uint32_t read(const std::atomic<std::uint64_t>& word, std::uint32_t number) {
    while (true) {
      const std::uint64_t content = word.load(std::memory_order_relaxed);
      if (content >> 32 == number) return static_cast<std::uint32_t>(content);
      std::this_thread::yield();
    }
  }

  std::atomic<std::uint64_t> words_[2][warp_size][max_exchange_words] = {};
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
  std::uint32_t exchanges = 0;
  std::array<std::array<std::uint32_t, std::size_t{warp_size} * max_exchange_words>, 2> words;  // of the last two
};

thread_local ThisThread this_thread;

std::mutex barriers_mutex;
std::set<std::string> reached;
std::string deleted;

}  // namespace

std::set<std::string> barriers_reached() { return reached; }
void delete_barrier(const std::string& name) { deleted = name; }

std::string run(const Launch& launch, const std::function<void()>& body) {
  if (const std::string wrong = check(launch); !wrong.empty()) return wrong;
  RandomOrder order(launch.seed);
  for (const std::uint64_t index : order.permutation(std::uint64_t{launch.grid_x} * launch.grid_y)) {
    Block block(launch, launch.threads_per_block);
    Position position = {.thread = 0,
                         .block_x = static_cast<std::uint32_t>(index % launch.grid_x),
                         .block_y = static_cast<std::uint32_t>(index / launch.grid_x),
                         .grid_x = launch.grid_x,
                         .grid_y = launch.grid_y,
                         .shared = block.shared.as<float>(),
                         .shared_bytes = launch.shared_bytes};
    {
      std::vector<std::jthread> threads;
      for (position.thread = 0; position.thread < launch.threads_per_block; ++position.thread)
        threads.emplace_back([&block, &body, position] {
          this_thread = {&block, position, 0, {}};
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

void block_barrier(const Place& where) {
  const std::string name = to_string(where);
  // One thread of a block speaks for all: a lock that every thread takes would order their accesses.
  if (this_thread.position.thread == 0) {
    const std::lock_guard lock(barriers_mutex);
    reached.insert(name);
  }
  if (name != deleted) this_thread.block->barrier.arrive_and_wait();
}

std::span<const std::uint32_t> warp_exchange(const char*, std::span<const std::uint32_t> mine, const Place&) {
  const int thread = this_thread.position.thread;
  const std::uint32_t number = ++this_thread.exchanges;
  auto& all = this_thread.words[number % 2];
  this_thread.block->warps[static_cast<std::size_t>(thread) / warp_size].exchange(thread % warp_size, number, mine,
                                                                                  all.data());
  return {all.data(), warp_size * mine.size()};
}

}  // namespace mhcjit::sim
