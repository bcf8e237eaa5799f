#include "bench/pre_forward_sets.h"

#include "bench/gpu/fast_random.h"
#include "oracle/outputs.h"

namespace mhcjit::bench {
namespace {

using gpu::TokenTensor;

// Allocators align at least so.
constexpr std::size_t alignment = 256;

TokenTensor x_of(const gpu::Case& item, double deviation) {
  return {item.shape().columns(), item.random.dtype, 42, deviation};
}

oracle::Inputs parameters_of(const gpu::Case& item) {
  oracle::RandomOptions no_tokens = item.random;
  no_tokens.shape.T = 0;
  return oracle::random_inputs(no_tokens);
}

}  // namespace

gpu::Case case_of(const codegen::Problem& problem, std::int64_t tokens) {
  return {{{tokens, problem.n, problem.d, problem.has_gamma}, static_cast<mhcjit_dtype>(problem.dtype), 41},
          problem.batch_invariant,
          problem.has_fp32_dx,
          alignment};
}

PreForwardSets::PreForwardSets(const gpu::Gpu& gpu, mhcjit_engine* engine, const codegen::Problem& problem,
                               std::int64_t tokens)
    : InputSets(problem, tokens),
      gpu_(gpu),
      case_(case_of(problem, tokens)),
      parameters_(parameters_of(case_)),
      op_(gpu::prepare(engine, gpu::problem_of(case_, MHCJIT_PRE_FORWARD))) {}

void PreForwardSets::add_set() {
  const gpu::ForwardCall& added = calls_.emplace_back(gpu_, case_, op_, parameters_);
  if (count() == 1)
    gpu::upload_tokens(x_of(case_, x_std), tokens(), added.buffer("x"));
  else
    added.buffer("x").copy_from(call(0).buffer("x"));
}

void PreForwardSets::run_sample(std::span<const std::int64_t> tokens, double deviation) const {
  gpu::upload_rows(x_of(case_, deviation), tokens, call(0).buffer("x"));
  call(0).poison();
  run(0);
}

Expected PreForwardSets::expected(std::span<const std::int64_t> tokens, double deviation) const {
  const oracle::Shape shape = sample_shape(tokens);
  const auto values =
      std::make_shared<const oracle::Forward>(oracle::pre_forward(shape, sample_inputs(tokens, deviation)));
  return {values, oracle::outputs_of(shape, *values)};
}

oracle::Shape PreForwardSets::sample_shape(std::span<const std::int64_t> tokens) const {
  oracle::Shape shape = case_.shape();
  shape.T = static_cast<std::int64_t>(tokens.size());
  return shape;
}

oracle::Inputs PreForwardSets::sample_inputs(std::span<const std::int64_t> tokens, double deviation) const {
  oracle::Inputs inputs = parameters_;
  inputs.x = gpu::values_of(x_of(case_, deviation), tokens);
  return inputs;
}

}  // namespace mhcjit::bench
