// Tensors for many calls of one operator, so that a call finds none of its own in the L2 cache. Each operator's are in
// files named for it, which bench/operators.cpp lists.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bench/gpu/calls.h"
#include "codegen/problem.h"
#include "oracle/compare.h"

namespace mhcjit::bench {

// References that the oracle computed; `values` keeps them alive.
struct Expected {
  std::shared_ptr<const void> values;
  std::vector<oracle::Reference> outputs;
};

// All sets have the same values. All outputs are written, the saved intermediates among them.
class InputSets {
 public:
  static constexpr double x_std = 1.0;  // standard deviation of x

  virtual ~InputSets() = default;
  InputSets(const InputSets&) = delete;
  InputSets& operator=(const InputSets&) = delete;

  const codegen::Problem& problem() const { return problem_; }
  std::int64_t tokens() const { return tokens_; }

  virtual int count() const = 0;
  virtual void add_set() = 0;
  virtual const gpu::Call& call(int set) const = 0;
  // Enqueues the operator on a set. `overlaps`: with overlap_previous.
  void run(int set, CUstream stream = nullptr, bool overlaps = false) const;
  // The sets of the operator whose results these read; nullptr where there is none.
  virtual const InputSets* needed() const { return nullptr; }

  // Gives `tokens` of set 0 new values of x, with this standard deviation. The other tokens add nothing to outputs that
  // are sums over all tokens. Poisons the outputs and runs what is needed.
  virtual void run_sample(std::span<const std::int64_t> tokens, double deviation) const = 0;
  // The right outputs of run_sample() for these tokens, and the right sums, computed from the device's results of other
  // operators.
  virtual Expected expected(std::span<const std::int64_t> tokens, double deviation) const = 0;

 protected:
  InputSets(const codegen::Problem& problem, std::int64_t tokens) : problem_(problem), tokens_(tokens) {}

 private:
  const codegen::Problem problem_;
  const std::int64_t tokens_;
};

// As many sets as outgrow the L2 cache, and up to `wanted` where memory has room for them. Throws std::runtime_error
// when memory runs out or the operator cannot be prepared.
std::unique_ptr<InputSets> make_input_sets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem,
                                           std::int64_t tokens, int wanted = 0);

// One call; nullptr of an operator that reads what another has left.
std::unique_ptr<gpu::Call> make_call(const codegen::Operator& op, const gpu::Gpu& gpu, const gpu::Case& item,
                                     const mhcjit_operator* prepared, const oracle::Inputs& inputs);

// The problems that must have run before a call of this one, and this one: backward reads tensors that forward saves.
std::vector<codegen::Problem> needed_problems(const codegen::Problem& problem);

}  // namespace mhcjit::bench
