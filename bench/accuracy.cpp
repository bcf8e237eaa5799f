#include "bench/accuracy.h"

#include <algorithm>

#include "oracle/compare.h"

namespace mhcjit::bench {
namespace {

constexpr std::int64_t sampled_tokens = 32;
constexpr double deviations[] = {0.05, 1.0, 20.0};

// Tokens spread over all of T, the first and the last among them.
std::vector<std::int64_t> sample_of(std::int64_t T) {
  std::vector<std::int64_t> tokens;
  const std::int64_t count = std::min(T, sampled_tokens);
  for (std::int64_t i = 0; i < count; ++i) tokens.push_back(count == 1 ? 0 : i * (T - 1) / (count - 1));
  return tokens;
}

class Comparison {
 public:
  Comparison(const InputSets& sets, std::vector<std::int64_t> tokens) : sets_(sets), tokens_(std::move(tokens)) {}

  // Of what set 0 holds for x of this deviation. `alone`: no other token has gradients.
  void add(double x_std, bool alone) {
    const oracle::Shape shape = sets_.sample_shape(tokens_);
    const oracle::Inputs inputs = sets_.sample_inputs(tokens_, x_std);
    const oracle::Forward expected = oracle::pre_forward(shape, inputs);
    if (sets_.problem().op == codegen::Op::pre_forward) return add(expected);
    const oracle::Backward slopes = oracle::pre_backward(shape, inputs, expected, sets_.sample_gradients(tokens_));
    const gpu::BackwardCall& call = sets_.backward(0);
    add("dx", slopes.dx, call.rows_of("dx", tokens_));
    if (!alone) return;
    add("dphi", slopes.dphi, call.values_of("dphi"));
    if (shape.has_gamma) add("dgamma", slopes.dgamma, call.values_of("dgamma"));
    add("dalpha", slopes.dalpha, call.values_of("dalpha"));
    add("dbias", slopes.dbias, call.values_of("dbias"));
  }

  Errors take() { return std::move(errors_); }

 private:
  void add(const oracle::Forward& expected) {
    const gpu::ForwardCall& call = sets_.forward(0);
    const std::pair<const char*, const std::vector<double>*> outputs[] = {
        {"h_in", &expected.h_in},       {"h_post", &expected.h_post}, {"h_res", &expected.h_res},
        {"inv_rms", &expected.inv_rms}, {"h_mix", &expected.h_mix},   {"h_pre", &expected.h_pre}};
    for (const auto& [tensor, reference] : outputs) add(tensor, *reference, call.rows_of(tensor, tokens_));
  }

  void add(const char* tensor, const std::vector<double>& reference, const std::vector<double>& values) {
    const double error = oracle::normalised_error(reference, values);
    TensorError& worst = errors_[tensor];
    worst.bound = oracle::error_bound(tensor, static_cast<mhcjit_dtype>(sets_.problem().dtype)).value();
    // NaN is worse than any number.
    worst.error = error <= worst.error ? worst.error : error;
  }

  const InputSets& sets_;
  const std::vector<std::int64_t> tokens_;
  Errors errors_;
};

}  // namespace

bool within_bounds(const Errors& errors) {
  return std::all_of(errors.begin(), errors.end(),
                     [](const auto& entry) { return entry.second.error <= entry.second.bound; });
}

Errors check_accuracy(const InputSets& sets) {
  const std::vector<std::int64_t> tokens = sample_of(sets.tokens());
  Comparison comparison(sets, tokens);
  comparison.add(1.0, /*alone=*/false);
  for (const double x_std : deviations) {
    sets.run_sample(tokens, x_std);
    comparison.add(x_std, /*alone=*/true);
  }
  return comparison.take();
}

}  // namespace mhcjit::bench
