// Makes the copies and stores of blocks of real threads, in an order drawn from a seed, and sees dead locks.
//
// Each copy is a thread of its own, which begins where the copy was asked for and tells its end to the barrier alone,
// or to who waits for the store: one copy does not order another.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <variant>
#include <vector>

#include "bell.h"
#include "box_store.h"
#include "random_order.h"
#include "thread_blocks.h"
#include "transfer.h"

namespace mhcjit::sim {

class TransferEngine {
 public:
  TransferEngine(ThreadBlocks& blocks, std::uint64_t seed);
  // Every thread of the blocks has ended.
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  struct Step {
    bool is_late = false;  // not before it is waited for
    std::atomic<bool> is_wanted = false;
    std::atomic<bool> is_done = false;
  };
  struct Request {
    std::variant<Transfer, BoxStore> work;
    ThreadBlock* target = nullptr;  // a transfer's
    std::atomic<bool> is_there = false;
    Step read;  // a store's
    Step write;
  };

  // Called by any thread. Throws Fault when the blocks have asked for too many.
  Request& push(const std::variant<Transfer, BoxStore>& work, ThreadBlock* target = nullptr);

  void wait_for(Step& step);

 private:
  void run();
  void collect();
  void begin_one();
  void perform(Request& request);
  void perform(const Transfer& transfer, ThreadBlock& target);
  void perform(const BoxStore& store, Request& request);
  void begin(const Step& step);
  void finish(Step& step);
  void look_for_dead_lock();

  ThreadBlocks& blocks_;
  RandomOrder order_;
  // Made before the threads are: a request has an owner that nothing but its flag passes on.
  std::vector<Request> requests_;
  std::atomic<std::size_t> asked_ = 0;
  std::atomic<bool> stops_ = false;
  std::atomic<std::size_t> performed_ = 0;
  Bell bell_;  // when a step of a store is wanted or done, and at the end

  // For the engine's thread alone.
  std::size_t collected_ = 0;
  std::vector<std::size_t> pending_;
  std::uint64_t last_progress_ = 0;
  std::chrono::steady_clock::time_point still_since_;

  std::thread thread_;
};

}  // namespace mhcjit::sim
