#include <map>

#include <fmt/format.h>

#include "fibers.h"

namespace mhcjit::sim {
namespace {

// Threads that wait for the same are named once: those of a block, or of a warp whose lanes wait for each other.
std::size_t first_of_same(const std::vector<Thread>& threads, std::size_t threads_per_block, std::size_t thread) {
  const std::size_t unit = threads[thread].warp->arrived > 0 ? warp_size : threads_per_block;
  const std::string text = describe_thread(threads[thread]);
  std::size_t first = thread / unit * unit;
  while (describe_thread(threads[first]) != text) ++first;
  return first;
}

}  // namespace

std::string name_block(const Thread& thread) {
  return fmt::format("block ({}, {})", thread.position.block_x, thread.position.block_y);
}

std::string describe_thread(const Thread& thread) {
  const BarrierPhase* phase = nullptr;
  if (thread.waiting.state == State::at_barrier) phase = &thread.block->barriers.at(thread.waiting.barrier).phase;
  return describe(thread.waiting, phase);
}

std::string fault_at_end(const Block& block) {
  if (!block.shared.intact())
    return fmt::format("wrote outside its {} bytes of shared memory", block.shared.content().size());
  for (const auto& [offset, barrier] : block.barriers)
    if (barrier.phase.bytes < 0)
      return fmt::format("ends with {} bytes on the barrier at byte {} that nobody expected", -barrier.phase.bytes,
                         offset);
  for (std::size_t warp = 0; warp < block.warps.size(); ++warp)
    if (block.warps[warp].register_counts != block.warps[warp / 4 * 4].register_counts)
      return fmt::format("warps {} and {} of one warp group set different registers", warp / 4 * 4, warp);
  return "";
}

std::string describe_dead_lock(const std::vector<Thread>& threads, std::size_t threads_per_block) {
  std::map<std::size_t, std::size_t> counts;  // by first of the same
  for (std::size_t i = 0; i < threads.size(); ++i) ++counts[first_of_same(threads, threads_per_block, i)];
  std::string waiting;
  std::string finished;
  for (const auto& [first, count] : counts) {
    const Thread& thread = threads[first];
    std::string& list = thread.waiting.state == State::finished ? finished : waiting;
    list += list.empty() ? "" : ", ";
    if (threads.size() > threads_per_block) list += name_block(thread) + " ";
    list += fmt::format("thread {} {}", thread.position.thread, describe_thread(thread));
    if (count > 1) list += fmt::format(" (as {} others)", count - 1);
  }
  return waiting + (finished.empty() ? "" : ", ") + finished;
}

}  // namespace mhcjit::sim
