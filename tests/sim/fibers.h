// What fibers.cpp keeps of blocks while they run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <boost/context/fiber.hpp>

#include "barrier_phase.h"

#include "box_store.h"
#include "found_words.h"
#include "own_work.h"
#include "simulator.h"
#include "tests/address_sanitizer.h"
#include "tests/guarded_buffer.h"
#include "transfer.h"
#include "waiting.h"

namespace mhcjit::sim {

namespace address_sanitizer = test::address_sanitizer;

struct Warp {
  // Two exchanges: a lane that is in one may still read the one before.
  std::array<std::uint32_t, std::size_t{2} * warp_size * max_exchange_words> words;
  int arrived = 0;
  bool is_slow = false;
  std::vector<int> register_counts;  // as they were set, one after another
};

struct Barrier {
  int arrivals = 0;  // of each phase
  BarrierPhase phase;
  std::array<bool, 2> from_others = {};  // by parity: whether bytes came from other blocks
  int initialiser = 0;                   // thread
  bool is_fenced = false;
  std::vector<std::size_t> waiters;  // for the end of `phase`
};

struct Block {
  explicit Block(const Launch& launch)
      : shared(launch.shared_bytes), warps(static_cast<std::size_t>(launch.threads_per_block) / warp_size) {}

  test::GuardedBuffer shared;
  std::vector<Warp> warps;
  std::unordered_map<std::uint32_t, Barrier> barriers;  // by offset in shared memory
  std::size_t arrived = 0;                              // at the block's barrier
  std::size_t finished = 0;                             // threads
};

struct Thread {
  boost::context::fiber fiber;
  address_sanitizer::Stack stack;
  Position position;
  Block* block = nullptr;
  Warp* warp = nullptr;
  Waiting waiting;
  OwnWork copies;
  OwnWork products;
  OwnWork store_reads;
  OwnWork store_writes;
  FoundWords found;
  std::uint32_t exchanges = 0;        // of its warp, so far
  bool has_arrived = false;           // at the cluster's barrier, without having waited
  std::uint32_t arrived_in_turn = 0;  // of the cluster's barrier, then
};

struct ClusterBarrier {
  std::size_t arrived = 0;
  std::uint32_t turn = 0;
  std::vector<std::size_t> waiters;
};

struct PendingTransfer {
  Transfer transfer;
  std::size_t thread;  // that asked for it
};

// ---- What went wrong, in words
// ---------------------------------------------------------------------------------------

// "block (2, 0)"
std::string name_block(const Thread& thread);

std::string describe_thread(const Thread& thread);

// When all threads of the block have finished; "" when nothing is wrong.
std::string fault_at_end(const Block& block);

// Who waits for what, when nothing goes on; `threads` are block after block.
std::string describe_dead_lock(const std::vector<Thread>& threads, std::size_t threads_per_block);

}  // namespace mhcjit::sim
