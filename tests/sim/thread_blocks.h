// What threads.cpp and its engine of copies keep of blocks while they run. Atomics that only carry facts are relaxed:
// an order between memory accesses comes from the kernel's own operations alone.
#pragma once

#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "atomic_barrier.h"
#include "bell.h"
#include "simulator.h"
#include "tests/guarded_buffer.h"
#include "waiting.h"

namespace mhcjit::sim {

// A rendezvous of a warp that exchanges values and orders nothing else: a device's shuffle does not make one lane's
// memory accesses seen by another, so ThreadSanitizer must not believe so. Each word carries the number of its
// exchange, so that a reader knows it without any other access.
class WarpExchange {
 public:
  void offer(int lane, std::uint32_t number, std::span<const std::uint32_t> mine) {
    for (std::size_t i = 0; i < mine.size(); ++i)
      words_[number % 2][lane][i].store(std::uint64_t{number} << 32 | mine[i], std::memory_order_relaxed);
    // No lane is in the next exchange before all have offered in this.
    if (offers_.fetch_add(1, std::memory_order_relaxed) % warp_size == warp_size - 1) bell_.ring();
  }

  // Takes `size` words of each lane, as far as lanes have offered them in this exchange. Returns whether all have. Two
  // exchanges are kept: a lane that is in number + 2 has seen all lanes in number + 1, behind their reads here.
  bool take(std::uint32_t number, std::size_t size, std::uint32_t* all) const {
    for (std::size_t i = 0; i < warp_size * size; ++i) {
      const std::uint64_t content = words_[number % 2][i / size][i % size].load(std::memory_order_relaxed);
      if (content >> 32 != number) return false;
      all[i] = static_cast<std::uint32_t>(content);
    }
    return true;
  }

  Bell& bell() { return bell_; }

 private:
  std::atomic<std::uint64_t> words_[2][warp_size][max_exchange_words] = {};
  std::atomic<std::uint32_t> offers_ = 0;
  Bell bell_;  // when all lanes have offered
};

struct ThreadWarp {
  WarpExchange exchange;
  std::barrier<> barrier{warp_size};
};

struct ThreadBlock {
  explicit ThreadBlock(const Launch& launch)
      : barrier(launch.threads_per_block),
        warps(static_cast<std::size_t>(launch.threads_per_block) / warp_size),
        shared(launch.shared_bytes),
        barriers(std::make_unique<AtomicBarrier[]>(launch.shared_bytes / 8)) {}

  std::barrier<> barrier;
  std::vector<ThreadWarp> warps;
  test::GuardedBuffer shared;
  std::unique_ptr<AtomicBarrier[]> barriers;  // one for each 8 bytes of shared memory
  std::atomic<int> finished = 0;              // threads
};

// What a thread does, for others to look at.
struct Activity {
  std::atomic<State> state = State::ready;
  std::atomic<Place> where = Place();
  std::atomic<const char*> operation = "";
  std::atomic<std::uint32_t> barrier = 0;
  std::atomic<int> parity = 0;
};

// Blocks that run at the same time: of one cluster, or of a cooperative launch.
struct ThreadBlocks {
  ThreadBlocks(const Launch& launched, std::size_t clusters)
      : launch(launched),
        activities(static_cast<std::size_t>(launched.threads_per_block) * launched.cluster_size * clusters),
        cluster_barriers(clusters) {
    for (std::size_t i = 0; i < clusters * static_cast<std::size_t>(launch.cluster_size); ++i)
      blocks.emplace_back(launch);
    for (AtomicBarrier& barrier : cluster_barriers) barrier.init(launch.threads_per_block * launch.cluster_size);
  }

  const Launch& launch;
  std::deque<ThreadBlock> blocks;   // cluster after cluster
  std::deque<Activity> activities;  // block after block
  std::deque<AtomicBarrier> cluster_barriers;
  std::atomic<std::uint64_t> progress = 0;
};

// The barrier whose 8 bytes stand at `offset`. Throws Fault when there is none, or something was written over it.
AtomicBarrier& find_barrier(ThreadBlock& block, std::uint32_t offset, const Place& where);

// Ends the process: threads that wait could not be freed.
[[noreturn]] void end_with_fault(const Launch& launch, const std::string& text);

}  // namespace mhcjit::sim
