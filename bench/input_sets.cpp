#include "bench/input_sets.h"

#include "bench/floor.h"
#include "bench/gpu/fast_random.h"

namespace mhcjit::bench {
namespace {

using gpu::TokenTensor;

// Where an allocator would put them.
constexpr std::size_t alignment = 256;

gpu::Case case_of(const codegen::Problem& problem, std::int64_t tokens) {
  return {{{tokens, problem.n, problem.d, problem.has_gamma}, static_cast<mhcjit_dtype>(problem.dtype), 41},
          problem.batch_invariant,
          problem.has_fp32_dx,
          alignment};
}

TokenTensor x_of(const gpu::Case& item, double deviation) {
  return {item.shape().columns(), item.random.dtype, 42, deviation};
}

struct GradientTensor {
  const char* name;
  TokenTensor tensor;
};

std::array<GradientTensor, 3> gradients_of(const gpu::Case& item) {
  const oracle::Shape& shape = item.shape();
  return {{{"dh_in", {shape.D, item.random.dtype, 43, 1.0}},
           {"dh_post", {shape.n, MHCJIT_FP32, 44, 1.0}},
           {"dh_res", {std::int64_t{shape.n} * shape.n, MHCJIT_FP32, 45, 1.0}}}};
}

oracle::Inputs parameters_of(const gpu::Case& item) {
  oracle::RandomOptions no_tokens = item.random;
  no_tokens.shape.T = 0;
  return oracle::random_inputs(no_tokens);
}

}  // namespace

std::vector<codegen::Problem> needed_problems(const codegen::Problem& problem) {
  if (problem.op->id == MHCJIT_PRE_FORWARD) return {problem};
  codegen::Problem forward = problem;
  forward.op = &codegen::pre_forward;
  forward.has_fp32_dx = false;
  return {forward, problem};
}

InputSets::InputSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem, std::int64_t tokens,
                     int wanted)
    : problem_(problem), case_(case_of(problem, tokens)), parameters_(parameters_of(case_)) {
  const auto* forward_op = gpu::prepare(engine, gpu::problem_of(case_, MHCJIT_PRE_FORWARD));
  const auto* backward_op = is_forward() ? nullptr : gpu::prepare(engine, gpu::problem_of(case_, MHCJIT_PRE_BACKWARD));
  const int cold = cold_sets(floor_bytes(problem, tokens), static_cast<std::size_t>(gpu.l2_bytes));
  const std::size_t free_before = gpu.free_bytes();
  // Room for one more set, and as much again for everything else.
  const auto has_room = [&] {
    const std::size_t free = gpu.free_bytes();
    return free >= 2 * (free_before - free) / static_cast<std::size_t>(count());
  };
  while (count() < cold || (count() < wanted && has_room())) add_set(gpu, forward_op, backward_op);
  gpu.synchronize();
}

void InputSets::add_set(const gpu::Gpu& gpu, const mhcjit_operator* forward_op, const mhcjit_operator* backward_op) {
  const std::int64_t tokens = case_.shape().T;
  const gpu::ForwardCall& added = forward_.emplace_back(gpu, case_, forward_op, parameters_);
  const bool is_first = count() == 1;
  if (is_first)
    gpu::upload_tokens(x_of(case_, x_std), tokens, added.buffer("x"));
  else
    added.buffer("x").copy_from(forward(0).buffer("x"));
  if (is_forward()) return;

  gpu::BackwardOptions options;
  options.gradients_by_caller = true;
  const gpu::BackwardCall& slopes =
      backward_.emplace_back(added, gpu, case_, backward_op, oracle::OutputGradients{}, options);
  for (const auto& [name, tensor] : gradients_of(case_)) {
    if (is_first)
      gpu::upload_tokens(tensor, tokens, slopes.buffer(name));
    else
      slopes.buffer(name).copy_from(backward(0).buffer(name));
  }
  // Backward reads what forward saves.
  gpu::require(added.run(), "mhcjit_pre_forward");
}

void InputSets::run(int set, CUstream stream, bool overlaps) const {
  if (is_forward())
    run_forward(set, stream, overlaps);
  else
    run_backward(set, stream, overlaps);
}

void InputSets::run_forward(int set, CUstream stream, bool overlaps) const {
  const gpu::ForwardCall& call = forward(set);
  gpu::require(overlaps ? call.run_overlapped(stream) : call.run(stream), "mhcjit_pre_forward");
}

void InputSets::run_backward(int set, CUstream stream, bool overlaps) const {
  const gpu::BackwardCall& call = backward(set);
  gpu::require(overlaps ? call.run_overlapped(stream) : call.run(stream), "mhcjit_pre_backward");
}

void InputSets::run_sample(std::span<const std::int64_t> tokens, double deviation) const {
  gpu::upload_rows(x_of(case_, deviation), tokens, forward(0).buffer("x"));
  forward(0).poison();
  gpu::require(forward(0).run(), "mhcjit_pre_forward");
  if (is_forward()) return;
  for (const auto& [name, tensor] : gradients_of(case_)) {
    backward(0).buffer(name).fill(0);
    gpu::upload_rows(tensor, tokens, backward(0).buffer(name));
  }
  backward(0).poison();
  gpu::require(backward(0).run(), "mhcjit_pre_backward");
}

oracle::Shape InputSets::sample_shape(std::span<const std::int64_t> tokens) const {
  oracle::Shape shape = case_.shape();
  shape.T = static_cast<std::int64_t>(tokens.size());
  return shape;
}

oracle::Inputs InputSets::sample_inputs(std::span<const std::int64_t> tokens, double deviation) const {
  oracle::Inputs inputs = parameters_;
  inputs.x = gpu::values_of(x_of(case_, deviation), tokens);
  return inputs;
}

oracle::OutputGradients InputSets::sample_gradients(std::span<const std::int64_t> tokens) const {
  const auto [dh_in, dh_post, dh_res] = gradients_of(case_);
  return {gpu::values_of(dh_in.tensor, tokens), gpu::values_of(dh_post.tensor, tokens),
          gpu::values_of(dh_res.tensor, tokens)};
}

}  // namespace mhcjit::bench
