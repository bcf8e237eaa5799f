#include "threads.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "found_words.h"
#include "own_work.h"
#include "random_order.h"
#include "thread_blocks.h"
#include "transfer_engine.h"

namespace mhcjit::sim {
namespace {

struct ThisThread {
  ThreadBlocks* blocks = nullptr;
  TransferEngine* engine = nullptr;
  ThreadBlock* block = nullptr;
  std::size_t cluster = 0;  // number of the cluster among those that run
  ThreadWarp* warp = nullptr;
  Activity* activity = nullptr;
  Position position;
  int lane = 0;
  std::uint32_t exchanges = 0;
  std::array<std::array<std::uint32_t, std::size_t{warp_size} * max_exchange_words>, 2> words;  // of the last two
  OwnWork copies;
  OwnWork products;
  OwnWork store_reads;
  OwnWork store_writes;
  FoundWords found;
  RandomOrder work_order{0};  // when copies and products are made
  bool has_arrived = false;   // at the cluster's barrier, without having waited
  int cluster_parity = 0;
};

thread_local ThisThread this_thread;

// ---- Places that are reached or deleted
// ------------------------------------------------------------------------------

// A lock that every thread takes would order their accesses.
std::array<std::atomic<Place>, 1024> reached = {};
std::vector<std::pair<std::string, std::uint_least32_t>> deleted;  // file and line

void remember(const Place& where) {
  for (std::size_t i = where.line() % reached.size();; i = (i + 1) % reached.size()) {
    Place present = reached[i].load(std::memory_order_relaxed);
    if (present.line() == 0 && reached[i].compare_exchange_strong(present, where, std::memory_order_relaxed)) return;
    if (present.line() == where.line() && file_name(present) == file_name(where)) return;
  }
}

bool is_deleted(const Place& where) {
  remember(where);
  return std::ranges::any_of(
      deleted, [&](const auto& place) { return place.second == where.line() && place.first == file_name(where); });
}

// ---- Waiting
// ---------------------------------------------------------------------------------------------------------

// While it exists, others see what the thread waits for.
class Wait {
 public:
  explicit Wait(const Waiting& waiting) : state_(waiting.state) {
    Activity& activity = *this_thread.activity;
    activity.where.store(waiting.where, std::memory_order_relaxed);
    activity.operation.store(waiting.operation, std::memory_order_relaxed);
    activity.barrier.store(waiting.barrier, std::memory_order_relaxed);
    activity.parity.store(waiting.parity, std::memory_order_relaxed);
    activity.state.store(waiting.state, std::memory_order_relaxed);
    count_progress();
  }
  ~Wait() {
    this_thread.activity->state.store(State::ready, std::memory_order_relaxed);
    count_progress();
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

 private:
  // To come to a wait is progress, too: threads that are slow to begin are no dead lock.
  void count_progress() {
    // A look may have found nothing new.
    if (state_ != State::looking) this_thread.blocks->progress.fetch_add(1, std::memory_order_relaxed);
  }

  State state_;
};

ThreadBlock& block_of_cluster(std::uint32_t rank) {
  return this_thread.blocks->blocks[this_thread.cluster * this_thread.position.cluster_size + rank];
}
AtomicBarrier& cluster_barrier() { return this_thread.blocks->cluster_barriers[this_thread.cluster]; }

void step_barrier(AtomicBarrier& barrier, const BarrierStep& step, const Place& where) {
  if (const char* wrong = barrier.step(step)) throw Fault(fmt::format("{}: {}", to_string(where), wrong));
}

void run_thread(const ThisThread& thread, const std::function<void()>& body) {
  this_thread = thread;
  try {
    body();
    if (this_thread.has_arrived) throw Fault("ended between cluster_arrive and cluster_wait");
    if (this_thread.copies.is_left()) throw Fault("ended without waiting for all of its copies");
    if (this_thread.products.is_left()) throw Fault("ended without waiting for all of its products");
    if (this_thread.store_reads.is_left()) throw Fault("ended without waiting until all of its stores have read");
  } catch (const Fault& fault) {
    const Position& at = thread.position;
    end_with_fault(thread.blocks->launch,
                   fmt::format("block ({}, {}): thread {}: {}", at.block_x, at.block_y, at.thread, fault.what()));
  }
  thread.block->finished.fetch_add(1, std::memory_order_relaxed);
  thread.activity->state.store(State::finished, std::memory_order_relaxed);
}

// Until the threads that have begun wait for what has not: longer than a processor that many threads share keeps one
// waiting.
void wait_for_standstill(const ThreadBlocks& blocks) {
  std::uint64_t before = 0;
  do {
    before = blocks.progress.load(std::memory_order_relaxed);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  } while (blocks.progress.load(std::memory_order_relaxed) != before);
}

// Returns the first fault, or "".
std::string run_blocks(const Launch& launch, std::span<const std::uint64_t> clusters,
                       const std::function<void()>& body) {
  const std::uint32_t clusters_x = launch.grid_x / static_cast<std::uint32_t>(launch.cluster_size);
  const auto cluster_size = static_cast<std::size_t>(launch.cluster_size);
  ThreadBlocks blocks(launch, clusters.size());
  {
    TransferEngine engine(blocks, launch.seed + clusters[0]);
    std::vector<std::jthread> threads;
    // One block begins late, as on a device it may: who counts on what it does first is seen.
    const std::size_t count = blocks.blocks.size();
    for (std::size_t begun = 0; begun < count; ++begun) {
      const std::size_t number = (clusters[0] + begun) % count;
      if (begun > 0 && begun == count - 1) wait_for_standstill(blocks);
      const std::uint64_t index = clusters[number / cluster_size];
      const auto rank = static_cast<int>(number % cluster_size);
      ThreadBlock& block = blocks.blocks[number];
      for (int i = 0; i < launch.threads_per_block; ++i) {
        ThisThread thread;
        thread.blocks = &blocks;
        thread.engine = &engine;
        thread.block = &block;
        thread.cluster = number / cluster_size;
        thread.warp = &block.warps[i / warp_size];
        thread.activity = &blocks.activities[number * launch.threads_per_block + i];
        thread.lane = i % warp_size;
        thread.work_order = RandomOrder(launch.seed + static_cast<std::uint64_t>(i));
        thread.position = {.thread = i,
                           .block_x = static_cast<std::uint32_t>(index % clusters_x * launch.cluster_size + rank),
                           .block_y = static_cast<std::uint32_t>(index / clusters_x),
                           .grid_x = launch.grid_x,
                           .grid_y = launch.grid_y,
                           .cluster_rank = rank,
                           .cluster_size = launch.cluster_size,
                           .shared = block.shared.as<float>(),
                           .shared_bytes = launch.shared_bytes};
        threads.emplace_back([thread, &body] { run_thread(thread, body); });
      }
    }
  }
  for (std::size_t number = 0; number < blocks.blocks.size(); ++number)
    if (!blocks.blocks[number].shared.intact())
      return fmt::format("block {}: wrote outside its {} bytes of shared memory", number, launch.shared_bytes);
  return "";
}

}  // namespace

std::set<std::string> barriers_reached() {
  std::set<std::string> names;
  for (const auto& place : reached)
    if (place.load(std::memory_order_relaxed).line() != 0)
      names.insert(to_string(place.load(std::memory_order_relaxed)));
  return names;
}

void delete_barrier(const std::string& name) {
  const std::size_t colon = name.rfind(':');
  deleted.emplace_back(name.substr(0, colon), std::stoul(name.substr(colon + 1)));
}

AtomicBarrier& find_barrier(ThreadBlock& block, std::uint32_t offset, const Place& where) {
  AtomicBarrier& barrier = block.barriers[offset / 8];
  if (!barrier.exists())
    throw Fault(fmt::format("{}: byte {} of shared memory holds no barrier", to_string(where), offset));
  if (std::memcmp(block.shared.as<std::byte>() + offset, &barrier_mark, sizeof(barrier_mark)) != 0)
    throw Fault(fmt::format("{}: the barrier at byte {} was written over", to_string(where), offset));
  return barrier;
}

void end_with_fault(const Launch& launch, const std::string& text) {
  fmt::print(stderr, "{} {}\n", launch.kernel, text);
  std::_Exit(fault_exit_code);
}

std::string run(const Launch& launch, const std::function<void()>& body) {
  if (std::string wrong = check(launch); !wrong.empty()) return wrong;
  RandomOrder order(launch.seed);
  const std::vector<std::uint64_t> clusters =
      order.permutation(std::uint64_t{launch.grid_x} * launch.grid_y / launch.cluster_size);
  const std::size_t at_once = launch.is_cooperative ? clusters.size() : 1;
  for (std::size_t first = 0; first < clusters.size(); first += at_once) {
    const std::string fault = run_blocks(launch, std::span(clusters).subspan(first, at_once), body);
    if (!fault.empty()) return launch.kernel + " " + fault;
  }
  return "";
}

const Position& position() { return this_thread.position; }

void block_barrier(const Place& where) {
  if (is_deleted(where)) return;
  const Wait wait({.state = State::at_block_barrier, .where = where});
  this_thread.block->barrier.arrive_and_wait();
}

void warp_barrier(const Place& where) {
  if (is_deleted(where)) return;
  const Wait wait({.state = State::in_warp, .operation = "warp_barrier", .where = where});
  this_thread.warp->barrier.arrive_and_wait();
}

std::span<const std::uint32_t> warp_exchange(const char* operation, std::span<const std::uint32_t> mine,
                                             const Place& where) {
  const std::uint32_t number = ++this_thread.exchanges;
  auto& all = this_thread.words[number % 2];
  WarpExchange& exchange = this_thread.warp->exchange;
  exchange.offer(this_thread.lane, number, mine);
  const Wait wait({.state = State::in_warp, .operation = operation, .where = where});
  exchange.bell().wait_until([&] { return exchange.take(number, mine.size(), all.data()); });
  return {all.data(), warp_size * mine.size()};
}

void barrier_init(std::uint32_t barrier, int arrivals, const Place& where) {
  if (!this_thread.block->barriers[barrier / 8].init(arrivals))
    throw Fault(fmt::format("barrier_init at {}: byte {} holds a barrier already", to_string(where), barrier));
  // Plain memory: a use that is not ordered behind this is a race.
  std::memcpy(this_thread.block->shared.as<std::byte>() + barrier, &barrier_mark, sizeof(barrier_mark));
}

// Fences between kinds of accesses are beyond ThreadSanitizer.
void barrier_init_fence(const Place&) {}

void barrier_step(std::uint32_t barrier, const BarrierStep& step, const Place& where) {
  if (is_deleted(where)) return;
  step_barrier(find_barrier(*this_thread.block, barrier, where), step, where);
}

void barrier_wait(std::uint32_t barrier, int parity, Scope, const Place& where) {
  if (is_deleted(where)) return;
  AtomicBarrier& waited = find_barrier(*this_thread.block, barrier, where);
  const Wait wait({.state = State::at_barrier, .where = where, .barrier = barrier, .parity = parity});
  waited.wait(parity);
}

void start(const Transfer& transfer) { this_thread.engine->push(transfer, &block_of_cluster(transfer.rank)); }

void copy_async(std::byte* to, const void* from, std::uint32_t bytes) {
  const auto step = [=] { copy_or_zeros(to, from, bytes); };
  if (this_thread.work_order.below(2) == 0)
    step();
  else
    this_thread.copies.ask(step);
}
void copy_commit() { this_thread.copies.commit(); }
void copy_wait(int pending, const Place& where) {
  if (!is_deleted(where)) this_thread.copies.wait(static_cast<std::size_t>(pending));
}

void start(const BoxStore& store) {
  TransferEngine& engine = *this_thread.engine;
  TransferEngine::Request& request = engine.push(store);
  this_thread.store_reads.ask([&] { engine.wait_for(request.read); });
  this_thread.store_writes.ask([&] { engine.wait_for(request.write); });
}
void store_commit() {
  this_thread.store_reads.commit();
  this_thread.store_writes.commit();
}
void store_wait_read(int pending, const Place& where) {
  if (!is_deleted(where)) this_thread.store_reads.wait(static_cast<std::size_t>(pending));
}
void store_wait(int pending, const Place& where) {
  if (is_deleted(where)) return;
  this_thread.store_reads.wait(static_cast<std::size_t>(pending));
  this_thread.store_writes.wait(static_cast<std::size_t>(pending));
}

void products_ask(std::function<void()> step) { this_thread.products.ask(std::move(step)); }
void products_commit() {
  this_thread.products.commit();
  if (this_thread.work_order.below(2) == 0) this_thread.products.wait(0);
}
void products_wait(int pending, const Place& where) {
  if (!is_deleted(where)) this_thread.products.wait(static_cast<std::size_t>(pending));
}

const std::byte* cluster_memory(std::uint32_t rank, const Place& where) {
  const ThreadBlock& source = block_of_cluster(rank);
  if (source.finished.load(std::memory_order_relaxed) == this_thread.blocks->launch.threads_per_block)
    throw Fault(
        fmt::format("load_cluster at {} comes after the end of block {} of the cluster", to_string(where), rank));
  return source.shared.as<std::byte>();
}

void cluster_arrive(const Place& where) {
  if (std::exchange(this_thread.has_arrived, true))
    throw Fault(fmt::format("second cluster_arrive at {} without a cluster_wait between", to_string(where)));
  if (!is_deleted(where)) step_barrier(cluster_barrier(), {.arrivals = 1}, where);
}

void cluster_wait(const Place& where) {
  if (!std::exchange(this_thread.has_arrived, false))
    throw Fault(fmt::format("cluster_wait at {} without a cluster_arrive before it", to_string(where)));
  const int parity = std::exchange(this_thread.cluster_parity, 1 - this_thread.cluster_parity);
  if (is_deleted(where)) return;
  const Wait wait({.state = State::at_cluster_barrier, .where = where});
  cluster_barrier().wait(parity);
}

// ThreadSanitizer takes a relaxed access to order nothing, as it does on a device.
__extension__ typedef unsigned __int128 AtomicWords __attribute__((may_alias, aligned(16)));

Words load_relaxed(const std::uint32_t* address, const Place& where) {
  const auto words = [&] {
    return std::bit_cast<Words>(__atomic_load_n(reinterpret_cast<const AtomicWords*>(address), __ATOMIC_RELAXED));
  };
  const Words value = words();
  if (!this_thread.found.again(address, value)) return value;
  const Wait wait({.state = State::looking, .where = where});
  std::this_thread::sleep_for(std::chrono::microseconds(100));
  return words();
}

void store_relaxed(std::uint32_t* address, const Words& value) {
  __atomic_store_n(reinterpret_cast<AtomicWords*>(address), std::bit_cast<AtomicWords>(value), __ATOMIC_RELAXED);
  this_thread.blocks->progress.fetch_add(1, std::memory_order_relaxed);
}

// Only a device has registers to share.
void set_registers(int, const Place&) {}

}  // namespace mhcjit::sim
