// Tensors for many calls of one operator, so that a call finds none of its own in the L2 cache.
#pragma once

#include <array>
#include <deque>
#include <span>
#include <vector>

#include "bench/gpu/calls.h"
#include "codegen/operators.h"

namespace mhcjit::bench {

// The problems whose calls a set needs, this one last: backward reads what forward saves.
std::vector<codegen::Problem> needed_problems(const codegen::Problem& problem);

class InputSets {
 public:
  static constexpr double x_std = 1.0;  // standard deviation of x

  // All sets have the same values. All outputs are written, the saved intermediates among
  // them. There are as many sets as outgrow the L2 cache, and up to `wanted` where memory has room for them.
  // Throws std::runtime_error when memory runs out or the operator cannot be prepared.
  InputSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem, std::int64_t tokens,
            int wanted = 0);

  int count() const { return static_cast<int>(forward_.size()); }
  // Enqueues the operator on a set. `overlaps`: with overlap_previous.
  void run(int set, CUstream stream, bool overlaps) const;
  void run_forward(int set, CUstream stream, bool overlaps) const;
  void run_backward(int set, CUstream stream, bool overlaps) const;

  // Gives `tokens` of set 0 new values of x, with this standard deviation; for pre_backward also gradients, and all
  // other tokens none, so that sums over all tokens are sums over these. Poisons the outputs and runs what is needed.
  void run_sample(std::span<const std::int64_t> tokens, double deviation) const;
  // What the oracle computes for these tokens is asked for with these.
  oracle::Shape sample_shape(std::span<const std::int64_t> tokens) const;
  oracle::Inputs sample_inputs(std::span<const std::int64_t> tokens, double deviation) const;
  oracle::OutputGradients sample_gradients(std::span<const std::int64_t> tokens) const;

  const codegen::Problem& problem() const { return problem_; }
  std::int64_t tokens() const { return case_.shape().T; }
  // pre_backward's set has what forward saved for it.
  const gpu::ForwardCall& forward(int set) const { return forward_[static_cast<std::size_t>(set)]; }
  const gpu::BackwardCall& backward(int set) const { return backward_[static_cast<std::size_t>(set)]; }

 private:
  void add_set(const gpu::Gpu& gpu, const mhcjit_operator* forward_op, const mhcjit_operator* backward_op);
  bool is_forward() const { return problem_.op->id == MHCJIT_PRE_FORWARD; }

  const codegen::Problem problem_;
  const gpu::Case case_;
  const oracle::Inputs parameters_;
  std::deque<gpu::ForwardCall> forward_;
  std::deque<gpu::BackwardCall> backward_;  // of pre_backward
};

}  // namespace mhcjit::bench
