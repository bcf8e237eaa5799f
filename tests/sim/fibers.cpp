#include <algorithm>
#include <vector>

#include <fmt/format.h>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>

#include "address_sanitizer.h"
#include "guarded_buffer.h"
#include "random_order.h"
#include "simulator.h"

namespace mhcjit::sim {
namespace {

namespace context = boost::context;

// Kernels keep their registers here; the sanitizers multiply what they need.
constexpr std::size_t stack_bytes = 256 * 1024;

enum class State { ready, at_barrier, at_shuffle, finished };

std::string_view file_name(const std::source_location& where) {
  const std::string_view path = where.file_name();
  return path.substr(path.rfind('/') + 1);
}

bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && file_name(a) == file_name(b);
}

struct Thread {
  context::fiber fiber;
  address_sanitizer::Stack stack;
  State state = State::ready;
  std::source_location where;  // of the barrier or shuffle
  float value = 0.0f;          // offered to a shuffle, then received from it
  int lane_mask = 0;
};

std::string describe(const Thread& thread) {
  switch (thread.state) {
    case State::ready: return "is ready";
    case State::at_barrier:
      return fmt::format("waits at the barrier {}:{}", file_name(thread.where), thread.where.line());
    case State::at_shuffle:
      return fmt::format("waits at the shuffle {}:{}", file_name(thread.where), thread.where.line());
    case State::finished: return "has finished";
  }
  return "";
}

// One block while it runs.
class Block {
 public:
  Block(const Launch& launch, std::uint64_t index, RandomOrder& order, context::pooled_fixedsize_stack& stacks,
        const std::function<void()>& body)
      : shared_(launch.shared_bytes),
        threads_(launch.threads_per_block),
        arrived_in_warp_(threads_.size() / warp_size),
        order_(order) {
    position_.block_x = static_cast<std::uint32_t>(index % launch.grid_x);
    position_.block_y = static_cast<std::uint32_t>(index / launch.grid_x);
    position_.grid_x = launch.grid_x;
    position_.grid_y = launch.grid_y;
    position_.shared = shared_.as<float>();
    for (Thread& thread : threads_) {
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
      ready_.push_back(static_cast<int>(ready_.size()));
    }
  }

  // Returns the first fault, or "". To be called once.
  std::string run() {
    while (!ready_.empty() && fault_.empty()) {
      std::swap(ready_[order_.below(ready_.size())], ready_.back());
      position_.thread = ready_.back();
      ready_.pop_back();
      resume(threads_[position_.thread]);
    }
    std::string fault = describe_fault();
    abandoned_ = true;
    for (Thread& thread : threads_)
      if (thread.state != State::finished) resume(thread);
    return fault;
  }

  const Position& position() const { return position_; }

  void barrier(const std::source_location& where) {
    suspend_at(State::at_barrier, where);
    if (++arrived_at_barrier_ == threads_.size()) {
      arrived_at_barrier_ = 0;
      release(0, threads_.size(), where);
    }
    switch_to_scheduler();
  }

  float shuffle_xor(float value, int lane_mask, const std::source_location& where) {
    Thread& thread = suspend_at(State::at_shuffle, where);
    thread.value = value;
    thread.lane_mask = lane_mask;
    const std::size_t warp = static_cast<std::size_t>(position_.thread) / warp_size;
    if (++arrived_in_warp_[warp] == warp_size) {
      arrived_in_warp_[warp] = 0;
      exchange(warp * warp_size);
      release(warp * warp_size, warp_size, where);
    }
    switch_to_scheduler();
    return thread.value;
  }

 private:
  Thread& suspend_at(State state, const std::source_location& where) {
    Thread& thread = threads_[position_.thread];
    thread.state = state;
    thread.where = where;
    return thread;
  }

  // Thrown in threads that wait when their block has ended.
  struct Abandoned {};

  void run_thread(Thread& thread, const std::function<void()>& body) {
    scheduler_stack_ = address_sanitizer::Switch().arrive();
    try {
      if (!abandoned_) body();
    } catch (const Fault& fault) {
      fault_ = fault.what();
    } catch (const Abandoned&) {
    }
    thread.state = State::finished;
    address_sanitizer::Switch().leave(scheduler_stack_, true);
  }

  void resume(Thread& thread) {
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

  std::string describe_fault() const {
    if (!fault_.empty()) return fmt::format("thread {}: {}", position_.thread, fault_);
    const auto stuck =
        std::ranges::find_if(threads_, [](const Thread& thread) { return thread.state != State::finished; });
    if (stuck != threads_.end()) return describe_dead_lock(*stuck);
    if (!shared_.intact()) return fmt::format("wrote outside its {} bytes of shared memory", shared_.content().size());
    return "";
  }

  void exchange(std::size_t first) {
    float offered[warp_size];
    for (int lane = 0; lane < warp_size; ++lane) offered[lane] = threads_[first + lane].value;
    for (int lane = 0; lane < warp_size; ++lane) {
      Thread& thread = threads_[first + lane];
      if (thread.lane_mask != threads_[first].lane_mask || thread.lane_mask < 1 || thread.lane_mask >= warp_size)
        fault_ = fmt::format("shuffle {}:{} with mask {} in lane {} and {} in lane 0, allowed: one mask, 1 to 31",
                             file_name(thread.where), thread.where.line(), thread.lane_mask, lane,
                             threads_[first].lane_mask);
      else
        thread.value = offered[lane ^ thread.lane_mask];
    }
  }

  // Threads that met must have met at one place of the kernel.
  void release(std::size_t first, std::size_t count, const std::source_location& where) {
    for (std::size_t i = first; i < first + count; ++i) {
      if (!same_place(threads_[i].where, where))
        fault_ = fmt::format("{} while thread {} {}", describe(threads_[position_.thread]), i, describe(threads_[i]));
      threads_[i].state = State::ready;
      ready_.push_back(static_cast<int>(i));
    }
  }

  std::string describe_dead_lock(const Thread& stuck) const {
    const std::size_t index = &stuck - threads_.data();
    // Whom it waits for: the block, or its warp.
    const bool in_warp = stuck.state == State::at_shuffle;
    const auto first = threads_.begin() + (in_warp ? index / warp_size * warp_size : 0);
    const auto last = in_warp ? first + warp_size : threads_.end();
    const auto other = std::find_if(first, last, [&](const Thread& thread) {
      return thread.state != stuck.state || !same_place(thread.where, stuck.where);
    });
    return fmt::format("dead lock: thread {} {}, thread {} {}", index, describe(stuck), other - threads_.begin(),
                       describe(*other));
  }

  GuardedBuffer shared_;
  Position position_;
  std::vector<Thread> threads_;
  std::vector<int> ready_;
  std::size_t arrived_at_barrier_ = 0;
  std::vector<int> arrived_in_warp_;
  RandomOrder& order_;
  context::fiber scheduler_;
  address_sanitizer::Stack scheduler_stack_;
  std::string fault_;
  bool abandoned_ = false;
};

thread_local Block* running = nullptr;

}  // namespace

std::string run(const Launch& launch, const std::function<void()>& body) {
  static thread_local context::pooled_fixedsize_stack stacks(stack_bytes);
  RandomOrder order(launch.seed);
  for (const std::uint64_t index : order.permutation(std::uint64_t{launch.grid_x} * launch.grid_y)) {
    Block block(launch, index, order, stacks, body);
    running = &block;
    const std::string fault = block.run();
    running = nullptr;
    if (!fault.empty())
      return fmt::format("{} block ({}, {}): {}", launch.kernel, block.position().block_x, block.position().block_y,
                         fault);
  }
  return "";
}

const Position& position() { return running->position(); }
void block_barrier(const std::source_location& where) { running->barrier(where); }
float shuffle_xor(float value, int lane_mask, const std::source_location& where) {
  return running->shuffle_xor(value, lane_mask, where);
}

}  // namespace mhcjit::sim
