#include "fibers.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include "random_order.h"
#include "shared_address.h"

namespace mhcjit::sim {
namespace {

namespace context = boost::context;

// Kernels keep their registers here; the sanitizers multiply what they need.
constexpr std::size_t stack_bytes = std::size_t{256} * 1024;

// When copies and products of warp groups happen. One is drawn for each cluster: a wait that is missing shows in
// `late`, memory that is given away too early in `early`.
enum class Delay { early, even, late };

// Looks of each thread that looks, while nothing else happens, after which nobody is taken to end them.
constexpr std::size_t most_idle_looks = 1000;

// Blocks that run at the same time: of one cluster, or of a cooperative launch.
class ConcurrentBlocks {
 public:
  ConcurrentBlocks(const Launch& launch, std::span<const std::uint64_t> clusters, RandomOrder& order,
                   context::pooled_fixedsize_stack& stacks, const std::function<void()>& body)
      : threads_per_block_(launch.threads_per_block),
        cluster_size_(launch.cluster_size),
        threads_(threads_per_block_ * cluster_size_ * clusters.size()),
        order_(order),
        delay_(static_cast<Delay>(order.below(3))),
        cluster_barriers_(clusters.size()) {
    const std::uint32_t clusters_x = launch.grid_x / static_cast<std::uint32_t>(launch.cluster_size);
    const std::size_t count = cluster_size_ * clusters.size();
    const std::size_t slow_block = order.below(2 * count);  // half of the time none
    const bool has_slow_warps = order.below(2) == 0;
    blocks_.reserve(count);
    for (std::size_t number = 0; number < count; ++number) {
      const std::uint64_t index = clusters[number / cluster_size_];
      const int rank = static_cast<int>(number % cluster_size_);
      Block& block = blocks_.emplace_back(launch);
      for (Warp& warp : block.warps) warp.is_slow = number == slow_block || (has_slow_warps && order.below(4) == 0);
      for (int i = 0; i < launch.threads_per_block; ++i) {
        Thread& thread = threads_[number * threads_per_block_ + i];
        thread.block = &block;
        thread.warp = &block.warps[i / warp_size];
        thread.position = {.thread = i,
                           .block_x = static_cast<std::uint32_t>(index % clusters_x * launch.cluster_size + rank),
                           .block_y = static_cast<std::uint32_t>(index / clusters_x),
                           .grid_x = launch.grid_x,
                           .grid_y = launch.grid_y,
                           .cluster_rank = rank,
                           .cluster_size = launch.cluster_size,
                           .shared = block.shared.as<float>(),
                           .shared_bytes = launch.shared_bytes};
      }
    }
    for (std::size_t i = 0; i < threads_.size(); ++i) start_fiber(i, stacks, body);
  }

  // Returns the first fault, or "". To be called once.
  std::string run() {
    while (fault_.empty() && step()) continue;
    if (fault_.empty()) look_for_fault_at_end();
    abandoned_ = true;
    for (std::size_t i = 0; i < threads_.size(); ++i)
      if (threads_[i].waiting.state != State::finished) resume(i);
    return fault_;
  }

  const Position& position() const { return threads_[current_].position; }

  void block_barrier(const Place& where) {
    wait_as({.state = State::at_block_barrier, .where = where});
    if (++block().arrived == threads_per_block_) {
      block().arrived = 0;
      release_met(current_ / threads_per_block_ * threads_per_block_, threads_per_block_);
    }
    switch_to_scheduler();
  }

  std::span<const std::uint32_t> exchange(const char* operation, std::span<const std::uint32_t> mine,
                                          const Place& where) {
    Thread& thread = wait_as({.state = State::in_warp, .operation = operation, .where = where});
    Warp& warp = this_warp();
    std::uint32_t* all = warp.words.data() + thread.exchanges++ % 2 * (warp.words.size() / 2);
    std::copy(mine.begin(), mine.end(), all + current_ % warp_size * mine.size());
    if (++warp.arrived == warp_size) {
      warp.arrived = 0;
      release_met(current_ / warp_size * warp_size, warp_size);
    }
    switch_to_scheduler();
    return {all, warp_size * mine.size()};
  }

  void barrier_init(std::uint32_t offset, int arrivals, const Place& where) {
    const auto [entry, added] = block().barriers.try_emplace(offset);
    if (!added)
      throw Fault(fmt::format("barrier_init at {}: byte {} holds a barrier already", to_string(where), offset));
    entry->second.arrivals = arrivals;
    entry->second.phase.arrivals = arrivals;
    entry->second.initialiser = position().thread;
    std::memcpy(block().shared.as<std::byte>() + offset, &barrier_mark, sizeof(barrier_mark));
  }

  void barrier_init_fence() {
    for (auto& [offset, barrier] : block().barriers)
      if (barrier.initialiser == position().thread) barrier.is_fenced = true;
  }

  void barrier_step(std::uint32_t offset, const BarrierStep& barrier_step, const Place& where) {
    step_barrier(find_barrier(block(), offset, where), offset, barrier_step, where);
  }

  void barrier_wait(std::uint32_t offset, int parity, Scope scope, const Place& where) {
    Barrier& barrier = find_barrier(block(), offset, where);
    if (barrier.phase.parity() == parity) {
      wait_as({.state = State::at_barrier, .where = where, .barrier = offset, .parity = parity});
      barrier.waiters.push_back(current_);
      switch_to_scheduler();
    } else if (order_.below(8) == 0) {
      make_ready(current_);
      switch_to_scheduler();
    }
    if (scope == Scope::block && barrier.from_others[parity])
      throw Fault(fmt::format("barrier_wait at {}: bytes came from other blocks, which barrier_wait_cluster waits for",
                              to_string(where)));
  }

  void start(const Transfer& transfer) {
    if (transfer.rank == static_cast<std::uint32_t>(position().cluster_rank)) check_counts(block(), transfer);
    transfers_.push_back({transfer, current_});
  }

  void copy_async(std::byte* to, const void* from, std::uint32_t bytes) {
    const auto step = [=] { copy_or_zeros(to, from, bytes); };
    if (is_at_once())
      step();
    else
      copies().ask(step);
  }
  OwnWork& copies() { return threads_[current_].copies; }

  void start(const BoxStore& store) {
    const auto pending = std::make_shared<PendingStore>(store);
    stores_.push_back(pending);
    threads_[current_].store_reads.ask([pending] { pending->read(); });
    threads_[current_].store_writes.ask([pending] { pending->write(); });
  }
  void store_commit() {
    threads_[current_].store_reads.commit();
    threads_[current_].store_writes.commit();
  }
  void store_wait_read(std::size_t pending) { threads_[current_].store_reads.wait(pending); }
  void store_wait(std::size_t pending) {
    store_wait_read(pending);
    threads_[current_].store_writes.wait(pending);
  }

  OwnWork& products() { return threads_[current_].products; }
  void products_commit() {
    products().commit();
    if (is_at_once()) products().wait(0);
  }

  const std::byte* cluster_memory(std::uint32_t rank, const Place& where) {
    const Block& source = block_of_cluster(current_, rank);
    if (source.finished == threads_per_block_)
      throw Fault(
          fmt::format("load_cluster at {} comes after the end of block {} of the cluster", to_string(where), rank));
    return source.shared.as<std::byte>();
  }

  void cluster_arrive(const Place& where) {
    exchange("cluster_arrive", {}, where);
    Thread& thread = threads_[current_];
    if (thread.has_arrived)
      throw Fault(fmt::format("second cluster_arrive at {} without a cluster_wait between", to_string(where)));
    thread.has_arrived = true;
    ClusterBarrier& barrier = cluster_barrier();
    thread.arrived_in_turn = barrier.turn;
    if (++barrier.arrived < threads_per_block_ * cluster_size_) return;
    barrier.arrived = 0;
    ++barrier.turn;
    for (const std::size_t waiter : barrier.waiters) make_ready(waiter);
    barrier.waiters.clear();
  }

  void cluster_wait(const Place& where) {
    exchange("cluster_wait", {}, where);
    Thread& thread = threads_[current_];
    if (!thread.has_arrived)
      throw Fault(fmt::format("cluster_wait at {} without a cluster_arrive before it", to_string(where)));
    thread.has_arrived = false;
    ClusterBarrier& barrier = cluster_barrier();
    if (thread.arrived_in_turn != barrier.turn) return;
    wait_as({.state = State::at_cluster_barrier, .where = where});
    barrier.waiters.push_back(current_);
    switch_to_scheduler();
  }

  Words load_relaxed(const std::uint32_t* address, const Place& where) {
    const auto words = [&] {
      Words value;
      std::memcpy(value.data(), address, sizeof(value));
      return value;
    };
    const Words value = words();
    if (!threads_[current_].found.again(address, value)) return value;
    wait_as({.state = State::looking, .where = where});
    looking_.push_back(current_);
    ++idle_looks_;
    switch_to_scheduler();
    threads_[current_].waiting.state = State::ready;
    return words();
  }

  void store_relaxed(std::uint32_t* address, const Words& value) {
    if (std::memcmp(address, value.data(), sizeof(value)) != 0) idle_looks_ = 0;
    std::memcpy(address, value.data(), sizeof(value));
  }

  void set_registers(int count, const Place& where) {
    exchange("set_registers", {}, where);
    if (current_ % warp_size == 0) this_warp().register_counts.push_back(count);
  }

 private:
  // Thrown in threads that wait when the others have ended.
  struct Abandoned {};

  Block& block() { return *threads_[current_].block; }
  Warp& this_warp() { return *threads_[current_].warp; }
  std::size_t cluster_of(std::size_t thread) const { return thread / (threads_per_block_ * cluster_size_); }
  Block& block_of_cluster(std::size_t thread, std::uint32_t rank) {
    return blocks_[cluster_of(thread) * cluster_size_ + rank];
  }
  ClusterBarrier& cluster_barrier() { return cluster_barriers_[cluster_of(current_)]; }

  // ---- Fibers -------------------------------------------------------------------------------------------------------

  void start_fiber(std::size_t index, context::pooled_fixedsize_stack& stacks, const std::function<void()>& body) {
    Thread& thread = threads_[index];
    const context::stack_context stack = stacks.allocate();
    thread.stack = {static_cast<char*>(stack.sp) - stack.size, stack.size};
    // What earlier fibers left on it.
    address_sanitizer::unpoison(thread.stack.bottom, thread.stack.bytes);
    thread.fiber = context::fiber(std::allocator_arg, context::preallocated(stack.sp, stack.size, stack), stacks,
                                  [this, &thread, &body](context::fiber&& scheduler) {
                                    scheduler_ = std::move(scheduler);
                                    run_thread(thread, body);
                                    return std::move(scheduler_);
                                  });
    make_ready(index);
  }

  void run_thread(Thread& thread, const std::function<void()>& body) {
    scheduler_stack_ = address_sanitizer::Switch().arrive();
    try {
      if (!abandoned_) {
        body();
        if (thread.has_arrived) throw Fault("ended between cluster_arrive and cluster_wait");
        if (thread.copies.is_left()) throw Fault("ended without waiting for all of its copies");
        if (thread.products.is_left()) throw Fault("ended without waiting for all of its products");
        if (thread.store_reads.is_left()) throw Fault("ended without waiting until all of its stores have read");
      }
    } catch (const Fault& fault) {
      blame(current_, fault.what());
    } catch (const Abandoned&) {
      thread.waiting = {};
    }
    thread.waiting.state = State::finished;
    idle_looks_ = 0;
    ++block().finished;
    address_sanitizer::Switch().leave(scheduler_stack_, true);
  }

  void resume(std::size_t index) {
    current_ = index;
    Thread& thread = threads_[index];
    address_sanitizer::Switch here;
    here.leave(thread.stack);
    thread.fiber = std::move(thread.fiber).resume();
    here.arrive();
  }

  void switch_to_scheduler() {
    address_sanitizer::Switch here;
    here.leave(scheduler_stack_);
    scheduler_ = std::move(scheduler_).resume();
    scheduler_stack_ = here.arrive();
    if (abandoned_) throw Abandoned();
  }

  // ---- Order --------------------------------------------------------------------------------------------------------

  // Returns whether there was anything to do.
  bool step() {
    const std::size_t ready = ready_.size() + slow_ready_.size();
    const std::size_t copies = transfers_.size() + stores_.size();
    if (ready == 0 && copies == 0 && idle_looks_ >= most_idle_looks * looking_.size()) return false;
    if (is_turn_of_copies(ready, copies)) {
      idle_looks_ = 0;
      if (is_turn_of_stores())
        advance_store();
      else
        perform(take(transfers_));
      return true;
    }
    if (ready == 0 || (!looking_.empty() && order_.below(8) == 0)) {
      resume(take(looking_));
      return true;
    }
    const bool takes_slow = ready_.empty() || (!slow_ready_.empty() && order_.below(16) == 0);
    resume(take(takes_slow ? slow_ready_ : ready_));
    return true;
  }

  // For work that a thread has asked for and can wait for itself.
  bool is_at_once() { return delay_ == Delay::early || (delay_ == Delay::even && order_.below(2) == 0); }

  bool is_turn_of_copies(std::size_t ready, std::size_t copies) {
    const std::size_t runnable = ready + looking_.size();
    if (copies == 0 || runnable == 0) return runnable == 0;
    switch (delay_) {
      case Delay::early: return order_.below(2) == 0;
      case Delay::even: return order_.below(runnable + copies) >= runnable;
      case Delay::late: return ready == 0 && order_.below(16) == 0;
    }
    return false;
  }

  // Late ones are the last thing that happens.
  bool is_turn_of_stores() {
    if (transfers_.empty() || stores_.empty()) return transfers_.empty();
    return delay_ != Delay::late && order_.below(2) == 0;
  }

  template <typename T>
  T take(std::vector<T>& list) {
    std::swap(list[order_.below(list.size())], list.back());
    T taken = std::move(list.back());
    list.pop_back();
    return taken;
  }

  Thread& wait_as(const Waiting& waiting) {
    Thread& thread = threads_[current_];
    thread.waiting = waiting;
    return thread;
  }

  void make_ready(std::size_t index) {
    threads_[index].waiting.state = State::ready;
    idle_looks_ = 0;
    (threads_[index].warp->is_slow ? slow_ready_ : ready_).push_back(index);
  }

  // Threads that met must have met at one place of the kernel.
  void release_met(std::size_t first, std::size_t count) {
    const Place where = threads_[current_].waiting.where;
    for (std::size_t i = first; i < first + count; ++i) {
      if (!same_place(threads_[i].waiting.where, where))
        blame(current_, fmt::format("{} while thread {} {}", describe_thread(threads_[current_]),
                                    threads_[i].position.thread, describe_thread(threads_[i])));
    }
    for (std::size_t i = first; i < first + count; ++i) make_ready(i);
  }

  // ---- Barriers and copies ------------------------------------------------------------------------------------------

  static Barrier& find_barrier(Block& block, std::uint32_t offset, const Place& where) {
    const auto entry = block.barriers.find(offset);
    if (entry == block.barriers.end())
      throw Fault(fmt::format("{}: byte {} of shared memory holds no barrier", to_string(where), offset));
    if (std::memcmp(block.shared.as<std::byte>() + offset, &barrier_mark, sizeof(barrier_mark)) != 0)
      throw Fault(fmt::format("{}: the barrier at byte {} was written over", to_string(where), offset));
    return entry->second;
  }

  void step_barrier(Barrier& barrier, std::uint32_t offset, const BarrierStep& barrier_step, const Place& where) {
    if (const char* wrong = apply(barrier.phase, barrier_step))
      throw Fault(
          fmt::format("{}: {} (barrier at byte {}, phase {})", to_string(where), wrong, offset, barrier.phase.number));
    if (!barrier.phase.complete()) return;
    barrier.phase = {.number = barrier.phase.number + 1, .arrivals = barrier.arrivals};
    barrier.from_others[barrier.phase.parity()] = false;
    for (const std::size_t waiter : barrier.waiters) make_ready(waiter);
    barrier.waiters.clear();
  }

  // The barrier in the block that the transfer's bytes count on.
  static Barrier& check_counts(Block& target, const Transfer& transfer) {
    Barrier& barrier = find_barrier(target, transfer.barrier, transfer.where);
    if (!barrier.is_fenced)
      throw Fault(fmt::format("{} at {}: no barrier_init_fence followed the barrier_init of the barrier at byte {}",
                              transfer.operation, to_string(transfer.where), transfer.barrier));
    return barrier;
  }

  void perform(const PendingTransfer& pending) {
    const Transfer& transfer = pending.transfer;
    Block& target = block_of_cluster(pending.thread, transfer.rank);
    try {
      if (target.finished == threads_per_block_)
        throw Fault(fmt::format("{} at {} comes after the end of block {} of the cluster", transfer.operation,
                                to_string(transfer.where), transfer.rank));
      Barrier& barrier = check_counts(target, transfer);
      write(transfer, target.shared.as<std::byte>());
      if (threads_[pending.thread].block != &target) barrier.from_others[barrier.phase.parity()] = true;
      step_barrier(barrier, transfer.barrier, {.come = static_cast<std::int32_t>(transfer.bytes)}, transfer.where);
    } catch (const Fault& fault) {
      blame(pending.thread, fault.what());
    }
  }

  // Reads or writes one of those that nobody has waited for.
  void advance_store() {
    const std::shared_ptr<PendingStore> store = take(stores_);
    if (store->is_written()) return;
    if (store->is_read()) return store->write();
    store->read();
    stores_.push_back(store);
  }

  // ---- Faults -------------------------------------------------------------------------------------------------------

  void blame(std::size_t thread, const std::string& text) {
    if (fault_.empty())
      fault_ = fmt::format("{}: thread {}: {}", name_block(threads_[thread]), threads_[thread].position.thread, text);
  }

  void look_for_fault_at_end() {
    const auto stuck =
        std::ranges::find_if(threads_, [](const Thread& thread) { return thread.waiting.state != State::finished; });
    if (stuck != threads_.end()) {
      fault_ = fmt::format("{}: dead lock: {}", name_block(*stuck), describe_dead_lock(threads_, threads_per_block_));
      return;
    }
    for (std::size_t number = 0; number < blocks_.size() && fault_.empty(); ++number) {
      const std::string text = fault_at_end(blocks_[number]);
      if (!text.empty()) fault_ = name_block(threads_[number * threads_per_block_]) + ": " + text;
    }
  }

  std::size_t threads_per_block_;
  std::size_t cluster_size_;
  std::vector<Block> blocks_;    // cluster after cluster
  std::vector<Thread> threads_;  // block after block
  std::size_t current_ = 0;
  RandomOrder& order_;
  Delay delay_;
  std::vector<std::size_t> ready_;
  std::vector<std::size_t> slow_ready_;
  std::vector<std::size_t> looking_;
  std::size_t idle_looks_ = 0;  // since something changed
  std::vector<PendingTransfer> transfers_;
  std::vector<std::shared_ptr<PendingStore>> stores_;  // some of them already written
  std::vector<ClusterBarrier> cluster_barriers_;
  context::fiber scheduler_;
  address_sanitizer::Stack scheduler_stack_;
  std::string fault_;
  bool abandoned_ = false;
};

thread_local ConcurrentBlocks* running = nullptr;

}  // namespace

std::string run(const Launch& launch, const std::function<void()>& body) {
  if (const std::string wrong = check(launch); !wrong.empty()) return wrong;
  static thread_local context::pooled_fixedsize_stack stacks(stack_bytes);
  RandomOrder order(launch.seed);
  const std::vector<std::uint64_t> clusters =
      order.permutation(std::uint64_t{launch.grid_x} * launch.grid_y / launch.cluster_size);
  const std::size_t at_once = launch.is_cooperative ? clusters.size() : 1;
  for (std::size_t first = 0; first < clusters.size(); first += at_once) {
    ConcurrentBlocks blocks(launch, std::span(clusters).subspan(first, at_once), order, stacks, body);
    running = &blocks;
    const std::string fault = blocks.run();
    running = nullptr;
    if (!fault.empty()) return launch.kernel + " " + fault;
  }
  return "";
}

const Position& position() { return running->position(); }
void block_barrier(const Place& where) { running->block_barrier(where); }
std::span<const std::uint32_t> warp_exchange(const char* operation, std::span<const std::uint32_t> mine,
                                             const Place& where) {
  return running->exchange(operation, mine, where);
}
void warp_barrier(const Place& where) { running->exchange("warp_barrier", {}, where); }
void barrier_init(std::uint32_t barrier, int arrivals, const Place& where) {
  running->barrier_init(barrier, arrivals, where);
}
void barrier_init_fence(const Place&) { running->barrier_init_fence(); }
void barrier_step(std::uint32_t barrier, const BarrierStep& step, const Place& where) {
  running->barrier_step(barrier, step, where);
}
void barrier_wait(std::uint32_t barrier, int parity, Scope scope, const Place& where) {
  running->barrier_wait(barrier, parity, scope, where);
}
void start(const Transfer& transfer) { running->start(transfer); }
void copy_async(std::byte* to, const void* from, std::uint32_t bytes) { running->copy_async(to, from, bytes); }
void copy_commit() { running->copies().commit(); }
void copy_wait(int pending, const Place&) { running->copies().wait(static_cast<std::size_t>(pending)); }

void start(const BoxStore& store) { running->start(store); }
void store_commit() { running->store_commit(); }
void store_wait_read(int pending, const Place&) { running->store_wait_read(static_cast<std::size_t>(pending)); }
void store_wait(int pending, const Place&) { running->store_wait(static_cast<std::size_t>(pending)); }

void products_ask(std::function<void()> step) { running->products().ask(std::move(step)); }
void products_commit() { running->products_commit(); }
void products_wait(int pending, const Place&) { running->products().wait(static_cast<std::size_t>(pending)); }
const std::byte* cluster_memory(std::uint32_t rank, const Place& where) { return running->cluster_memory(rank, where); }
Words load_relaxed(const std::uint32_t* address, const Place& where) { return running->load_relaxed(address, where); }
void store_relaxed(std::uint32_t* address, const Words& value) { running->store_relaxed(address, value); }
void cluster_arrive(const Place& where) { running->cluster_arrive(where); }
void cluster_wait(const Place& where) { running->cluster_wait(where); }
void set_registers(int count, const Place& where) { running->set_registers(count, where); }

}  // namespace mhcjit::sim
