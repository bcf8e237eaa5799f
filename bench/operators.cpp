// The calls that measure each operator.
#include <algorithm>
#include <array>

#include "bench/floor.h"
#include "bench/input_sets.h"
#include "bench/pre_backward_sets.h"
#include "codegen/operators.h"

namespace mhcjit::bench {
namespace {

struct Entry {
  const codegen::Operator* op;
  codegen::Problem (*needed)(const codegen::Problem&) = nullptr;  // what has to run before
  std::unique_ptr<InputSets> (*make_sets)(const gpu::Gpu&, mhcjit_engine*, const codegen::Problem&, std::int64_t);
  std::unique_ptr<gpu::Call> (*make_call)(const gpu::Gpu&, const gpu::Case&, const mhcjit_operator*,
                                          const oracle::Inputs&) = nullptr;
};

template <typename Sets>
std::unique_ptr<InputSets> make_sets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem,
                                     std::int64_t tokens) {
  return std::make_unique<Sets>(gpu, engine, problem, tokens);
}

template <typename OneCall>
std::unique_ptr<gpu::Call> make_one(const gpu::Gpu& gpu, const gpu::Case& item, const mhcjit_operator* prepared,
                                    const oracle::Inputs& inputs) {
  return std::make_unique<OneCall>(gpu, item, prepared, inputs);
}

constexpr std::array<Entry, 2> list = {{
    {.op = &codegen::pre_forward, .make_sets = make_sets<PreForwardSets>, .make_call = make_one<gpu::ForwardCall>},
    {.op = &codegen::pre_backward, .needed = forward_of, .make_sets = make_sets<PreBackwardSets>},
}};

const Entry& entry_of(const codegen::Operator& op) {
  return *std::ranges::find_if(list, [&](const Entry& entry) { return entry.op->id == op.id; });
}

}  // namespace

void InputSets::run(int set, CUstream stream, bool overlaps) const {
  gpu::require(overlaps ? call(set).run_overlapped(stream) : call(set).run(stream), problem().op->name);
}

std::unique_ptr<InputSets> make_input_sets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem,
                                           std::int64_t tokens, int wanted) {
  const int cold = cold_sets(floor_bytes(problem, tokens), static_cast<std::size_t>(gpu.l2_bytes));
  std::unique_ptr<InputSets> sets = entry_of(*problem.op).make_sets(gpu, engine, problem, tokens);
  const std::size_t free_before = gpu.free_bytes();
  // Room for one more set, and as much again for everything else.
  const auto has_room = [&] {
    const std::size_t free = gpu.free_bytes();
    return free >= 2 * (free_before - free) / static_cast<std::size_t>(sets->count());
  };
  while (sets->count() < cold || (sets->count() < wanted && has_room())) sets->add_set();
  gpu.synchronize();
  return sets;
}

std::unique_ptr<gpu::Call> make_call(const codegen::Operator& op, const gpu::Gpu& gpu, const gpu::Case& item,
                                     const mhcjit_operator* prepared, const oracle::Inputs& inputs) {
  const Entry& entry = entry_of(op);
  return entry.make_call == nullptr ? nullptr : entry.make_call(gpu, item, prepared, inputs);
}

std::vector<codegen::Problem> needed_problems(const codegen::Problem& problem) {
  const Entry& entry = entry_of(*problem.op);
  if (entry.needed == nullptr) return {problem};
  return {entry.needed(problem), problem};
}

}  // namespace mhcjit::bench
