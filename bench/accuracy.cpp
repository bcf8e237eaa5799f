#include "bench/accuracy.h"

#include <algorithm>

#include "oracle/compare.h"

namespace mhcjit::bench {
namespace {

constexpr std::int64_t sampled_tokens = 32;
constexpr double deviations[] = {1.0, 0.05, 20.0};

std::vector<std::int64_t> sample_of(std::int64_t T) {
  const std::int64_t count = std::min(T, sampled_tokens);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (std::int64_t i = 1; i < count; ++i) tokens[static_cast<std::size_t>(i)] = i * (T - 1) / (count - 1);
  return tokens;
}

}  // namespace

bool within_bounds(const Errors& errors) {
  return std::all_of(errors.begin(), errors.end(),
                     [](const auto& entry) { return entry.second.error <= entry.second.bound; });
}

Sample::Sample(const InputSets& sets, double x_std) : sets_(sets), tokens_(sample_of(sets.tokens())) {
  const oracle::Shape shape = sets.sample_shape(tokens_);
  const oracle::Inputs inputs = sets.sample_inputs(tokens_, x_std);
  forward_ = oracle::pre_forward(shape, inputs);
  if (sets.problem().op == codegen::Op::pre_backward)
    backward_ = oracle::pre_backward(shape, inputs, forward_, sets.sample_gradients(tokens_));
}

void Sample::compare_tokens(Errors& errors) const {
  if (sets_.problem().op == codegen::Op::pre_backward)
    return compare(errors, "dx", backward_.dx, sets_.backward(0).rows_of("dx", tokens_));
  const std::pair<const char*, const std::vector<double>*> outputs[] = {
      {"h_in", &forward_.h_in},       {"h_post", &forward_.h_post}, {"h_res", &forward_.h_res},
      {"inv_rms", &forward_.inv_rms}, {"h_mix", &forward_.h_mix},   {"h_pre", &forward_.h_pre}};
  for (const auto& [tensor, reference] : outputs)
    compare(errors, tensor, *reference, sets_.forward(0).rows_of(tensor, tokens_));
}

void Sample::compare_sums(Errors& errors) const {
  if (sets_.problem().op == codegen::Op::pre_forward) return;
  const gpu::BackwardCall& call = sets_.backward(0);
  compare(errors, "dphi", backward_.dphi, call.values_of("dphi"));
  if (sets_.problem().has_gamma) compare(errors, "dgamma", backward_.dgamma, call.values_of("dgamma"));
  compare(errors, "dalpha", backward_.dalpha, call.values_of("dalpha"));
  compare(errors, "dbias", backward_.dbias, call.values_of("dbias"));
}

void Sample::compare(Errors& errors, const char* tensor, const std::vector<double>& reference,
                     const std::vector<double>& values) const {
  const double error = oracle::normalised_error(reference, values);
  TensorError& worst = errors[tensor];
  worst.bound = oracle::error_bound(tensor, static_cast<mhcjit_dtype>(sets_.problem().dtype)).value();
  // NaN is worse than any number, and stays.
  if (!(error <= worst.error)) worst.error = error;
}

Errors check_accuracy(const InputSets& sets) {
  Errors errors;
  for (const double x_std : deviations) {
    const Sample sample(sets, x_std);
    if (x_std == InputSets::x_std) sample.compare_tokens(errors);
    sets.run_sample(sample.tokens(), x_std);
    sample.compare_tokens(errors);
    sample.compare_sums(errors);
  }
  return errors;
}

}  // namespace mhcjit::bench
