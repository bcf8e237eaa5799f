// Tensors for measured calls of pre_forward.
#pragma once

#include <deque>

#include "bench/gpu/pre_forward_call.h"
#include "bench/input_sets.h"

namespace mhcjit::bench {

gpu::Case case_of(const codegen::Problem& problem, std::int64_t tokens);

class PreForwardSets final : public InputSets {
 public:
  // None yet.
  PreForwardSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem, std::int64_t tokens);

  int count() const override { return static_cast<int>(calls_.size()); }
  void add_set() override;
  const gpu::ForwardCall& call(int set) const override { return calls_[static_cast<std::size_t>(set)]; }
  void run_sample(std::span<const std::int64_t> tokens, double deviation) const override;
  Expected expected(std::span<const std::int64_t> tokens, double deviation) const override;

  // The oracle's shape for these tokens.
  oracle::Shape sample_shape(std::span<const std::int64_t> tokens) const;
  oracle::Inputs sample_inputs(std::span<const std::int64_t> tokens, double deviation) const;

 private:
  const gpu::Gpu& gpu_;
  const gpu::Case case_;
  const oracle::Inputs parameters_;
  const mhcjit_operator* const op_;
  std::deque<gpu::ForwardCall> calls_;
};

}  // namespace mhcjit::bench
