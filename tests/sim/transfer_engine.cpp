#include "transfer_engine.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

namespace mhcjit::sim {
namespace {

constexpr std::size_t most_requests = 1 << 14;
constexpr std::chrono::seconds dead_lock_after{2};

}  // namespace

TransferEngine::TransferEngine(ThreadBlocks& blocks, std::uint64_t seed)
    : blocks_(blocks), order_(seed), requests_(most_requests), thread_([this] { run(); }) {}

TransferEngine::~TransferEngine() {
  stops_.store(true, std::memory_order_relaxed);
  bell_.ring();
  thread_.join();
}

TransferEngine::Request& TransferEngine::push(const std::variant<Transfer, BoxStore>& work, ThreadBlock* target) {
  const std::size_t index = asked_.fetch_add(1, std::memory_order_relaxed);
  if (index >= most_requests)
    throw Fault(fmt::format("more than {} copies of blocks that run at the same time", most_requests));
  Request& request = requests_[index];
  request.work = work;
  request.target = target;
  request.is_there.store(true, std::memory_order_release);
  return request;
}

void TransferEngine::wait_for(Step& step) {
  step.is_wanted.store(true, std::memory_order_relaxed);
  bell_.ring();
  bell_.wait_until([&] { return step.is_done.load(std::memory_order_relaxed); });
  static_cast<void>(step.is_done.load(std::memory_order_acquire));
}

void TransferEngine::run() {
  still_since_ = std::chrono::steady_clock::now();
  while (true) {
    const bool stops = stops_.load(std::memory_order_relaxed);
    collect();
    if (!pending_.empty() && order_.below(3) == 0) {
      begin_one();
    } else if (stops && pending_.empty() && performed_.load(std::memory_order_relaxed) == collected_) {
      break;
    } else {
      look_for_dead_lock();
      std::this_thread::sleep_for(std::chrono::microseconds(order_.below(40)));
    }
  }
  // What copies did is now behind whoever joins this thread.
  static_cast<void>(performed_.load(std::memory_order_acquire));
}

// Without acquiring anything: that is the copy's.
void TransferEngine::collect() {
  const std::size_t asked = std::min(asked_.load(std::memory_order_relaxed), most_requests);
  while (collected_ < asked && requests_[collected_].is_there.load(std::memory_order_relaxed))
    pending_.push_back(collected_++);
}

void TransferEngine::begin_one() {
  std::swap(pending_[order_.below(pending_.size())], pending_.back());
  Request& request = requests_[pending_.back()];
  for (Step* step : {&request.read, &request.write}) step->is_late = order_.below(2) == 0;
  // Never joined: that would put the copy before all that the engine begins after it.
  std::thread([this, &request] { perform(request); }).detach();
  pending_.pop_back();
}

void TransferEngine::perform(Request& request) {
  static_cast<void>(request.is_there.load(std::memory_order_acquire));
  if (const auto* transfer = std::get_if<Transfer>(&request.work))
    perform(*transfer, *request.target);
  else
    perform(std::get<BoxStore>(request.work), request);
  performed_.fetch_add(1, std::memory_order_release);
}

void TransferEngine::perform(const Transfer& transfer, ThreadBlock& target) {
  try {
    if (target.finished.load(std::memory_order_relaxed) == blocks_.launch.threads_per_block)
      throw Fault(fmt::format("{} at {} comes after the end of block {} of the cluster", transfer.operation,
                              to_string(transfer.where), transfer.rank));
    AtomicBarrier& barrier = find_barrier(target, transfer.barrier, transfer.where);
    write(transfer, target.shared.as<std::byte>());
    if (const char* wrong = barrier.step({.come = static_cast<std::int32_t>(transfer.bytes)}))
      throw Fault(fmt::format("{}: {}", to_string(transfer.where), wrong));
  } catch (const Fault& fault) {
    end_with_fault(blocks_.launch, fault.what());
  }
  blocks_.progress.fetch_add(1, std::memory_order_relaxed);
}

void TransferEngine::perform(const BoxStore& store, Request& request) {
  PendingStore pending(store);
  begin(request.read);
  pending.read();
  finish(request.read);
  begin(request.write);
  pending.write();
  finish(request.write);
}

void TransferEngine::begin(const Step& step) {
  if (step.is_late)
    bell_.wait_until(
        [&] { return step.is_wanted.load(std::memory_order_relaxed) || stops_.load(std::memory_order_relaxed); });
}

void TransferEngine::finish(Step& step) {
  step.is_done.store(true, std::memory_order_release);
  blocks_.progress.fetch_add(1, std::memory_order_relaxed);
  bell_.ring();
}

void TransferEngine::look_for_dead_lock() {
  const auto state_of = [](const Activity& activity) { return activity.state.load(std::memory_order_relaxed); };
  const auto has = [&](State state) {
    return std::any_of(blocks_.activities.begin(), blocks_.activities.end(),
                       [&](const Activity& activity) { return state_of(activity) == state; });
  };
  const std::uint64_t progress = blocks_.progress.load(std::memory_order_relaxed);
  const auto now = std::chrono::steady_clock::now();
  if (progress != last_progress_ || !pending_.empty()) {
    last_progress_ = progress;
    still_since_ = now;
  }
  const bool all_finished =
      std::all_of(blocks_.activities.begin(), blocks_.activities.end(),
                  [&](const Activity& activity) { return state_of(activity) == State::finished; });
  if (now - still_since_ < dead_lock_after || has(State::ready) || all_finished) return;

  std::map<std::string, int> counts;
  for (std::size_t i = 0; i < blocks_.activities.size(); ++i) {
    const Activity& activity = blocks_.activities[i];
    const Waiting waiting = {.state = state_of(activity),
                             .operation = activity.operation.load(std::memory_order_relaxed),
                             .where = activity.where.load(std::memory_order_relaxed),
                             .barrier = activity.barrier.load(std::memory_order_relaxed),
                             .parity = activity.parity.load(std::memory_order_relaxed)};
    const std::size_t block = i / static_cast<std::size_t>(blocks_.launch.threads_per_block);
    BarrierPhase phase;
    if (waiting.state == State::at_barrier) phase = blocks_.blocks[block].barriers[waiting.barrier / 8].phase();
    ++counts[fmt::format("block {} {}", block, describe(waiting, &phase))];
  }
  std::string list;
  for (const auto& [text, count] : counts)
    list += fmt::format("{}{} ({} threads)", list.empty() ? "" : ", ", text, count);
  end_with_fault(blocks_.launch, "dead lock: " + list);
}

}  // namespace mhcjit::sim
