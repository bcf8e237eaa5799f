// Tensors for measured calls of pre_backward.
#pragma once

#include <deque>

#include "bench/gpu/pre_backward_call.h"
#include "bench/pre_forward_sets.h"

namespace mhcjit::bench {

// The problem of pre_forward that saves what a problem of pre_backward reads.
codegen::Problem forward_of(const codegen::Problem& problem);

// Each set has what pre_forward saved for it.
class PreBackwardSets final : public InputSets {
 public:
  // None yet.
  PreBackwardSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem, std::int64_t tokens);

  int count() const override { return static_cast<int>(calls_.size()); }
  void add_set() override;
  const gpu::BackwardCall& call(int set) const override { return calls_[static_cast<std::size_t>(set)]; }
  const InputSets* needed() const override { return &forward_; }
  void run_sample(std::span<const std::int64_t> tokens, double deviation) const override;
  Expected expected(std::span<const std::int64_t> tokens, double deviation) const override;

 private:
  const gpu::Gpu& gpu_;
  const gpu::Case case_;
  PreForwardSets forward_;
  const mhcjit_operator* const op_;
  std::deque<gpu::BackwardCall> calls_;
};

}  // namespace mhcjit::bench
