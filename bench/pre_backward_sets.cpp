#include "bench/pre_backward_sets.h"

#include <array>

#include "bench/gpu/fast_random.h"
#include "codegen/operators.h"
#include "oracle/outputs.h"
#include "oracle/tensors.h"

namespace mhcjit::bench {
namespace {

using gpu::TokenTensor;

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

oracle::OutputGradients sample_gradients(const gpu::Case& item, std::span<const std::int64_t> tokens) {
  const auto [dh_in, dh_post, dh_res] = gradients_of(item);
  return {gpu::values_of(dh_in.tensor, tokens), gpu::values_of(dh_post.tensor, tokens),
          gpu::values_of(dh_res.tensor, tokens)};
}

}  // namespace

codegen::Problem forward_of(const codegen::Problem& problem) {
  codegen::Problem forward = problem;
  forward.op = &codegen::pre_forward;
  forward.has_fp32_dx = false;
  return forward;
}

PreBackwardSets::PreBackwardSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem,
                                 std::int64_t tokens)
    : InputSets(problem, tokens),
      gpu_(gpu),
      case_(case_of(problem, tokens)),
      forward_(gpu, engine, forward_of(problem), tokens),
      op_(gpu::prepare(engine, gpu::problem_of(case_, MHCJIT_PRE_BACKWARD))) {}

void PreBackwardSets::add_set() {
  forward_.add_set();
  const int set = count();
  gpu::BackwardOptions options;
  options.gradients_by_caller = true;
  const gpu::BackwardCall& added =
      calls_.emplace_back(forward_.call(set), gpu_, case_, op_, oracle::OutputGradients{}, options);
  for (const auto& [name, tensor] : gradients_of(case_)) {
    if (set == 0)
      gpu::upload_tokens(tensor, tokens(), added.buffer(name));
    else
      added.buffer(name).copy_from(call(0).buffer(name));
  }
  forward_.run(set);
}

void PreBackwardSets::run_sample(std::span<const std::int64_t> tokens, double deviation) const {
  forward_.run_sample(tokens, deviation);
  for (const auto& [name, tensor] : gradients_of(case_)) {
    call(0).buffer(name).fill(0);
    gpu::upload_rows(tensor, tokens, call(0).buffer(name));
  }
  call(0).poison();
  run(0);
}

Expected PreBackwardSets::expected(std::span<const std::int64_t> tokens, double deviation) const {
  const oracle::Shape shape = forward_.sample_shape(tokens);
  const oracle::Inputs inputs = forward_.sample_inputs(tokens, deviation);
  // As it was saved: errors of forward are none of backward.
  const oracle::Forward saved =
      oracle::saved_by_forward([&](const char* tensor) { return forward_.call(0).rows_of(tensor, tokens); });
  const auto values = std::make_shared<const oracle::Backward>(
      oracle::pre_backward(shape, inputs, saved, sample_gradients(case_, tokens)));
  return {values, oracle::outputs_of(shape, *values)};
}

}  // namespace mhcjit::bench
