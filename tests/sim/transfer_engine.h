// Makes the copies of a cluster of real threads, in an order drawn from a seed, and sees dead locks.
//
// Each copy is a thread of its own, which begins where the copy was asked for and tells its end to the barrier alone:
// one copy does not order another.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "random_order.h"
#include "thread_cluster.h"
#include "transfer.h"

namespace mhcjit::sim {

class TransferEngine {
 public:
  TransferEngine(ThreadCluster& cluster, std::uint64_t seed);
  // Every thread of the cluster has ended.
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  // Called by any thread. Throws Fault when the cluster has asked for too many.
  void push(const Transfer& transfer);

 private:
  struct Request {
    Transfer transfer;
    std::atomic<bool> is_there = false;
  };

  void run();
  void collect();
  void begin_one();
  void perform(Request& request);
  void look_for_dead_lock();

  ThreadCluster& cluster_;
  RandomOrder order_;
  // Made before the threads are: a request has an owner that nothing but its flag passes on.
  std::vector<Request> requests_;
  std::atomic<std::size_t> asked_ = 0;
  std::atomic<bool> stops_ = false;
  std::atomic<std::size_t> performed_ = 0;

  // For the engine's thread alone.
  std::size_t collected_ = 0;
  std::vector<std::size_t> pending_;
  std::uint64_t last_progress_ = 0;
  std::chrono::steady_clock::time_point still_since_;

  std::thread thread_;
};

}  // namespace mhcjit::sim
