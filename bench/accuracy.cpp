#include "bench/accuracy.h"

#include <algorithm>

namespace mhcjit::bench {
namespace {

constexpr std::int64_t most_tokens = 32;
constexpr double deviations[] = {1.0, 0.05, 20.0};

}  // namespace

std::vector<std::int64_t> sampled_tokens(std::int64_t T) {
  const std::int64_t count = std::min(T, most_tokens);
  std::vector<std::int64_t> tokens(static_cast<std::size_t>(count));
  for (std::int64_t i = 1; i < count; ++i) tokens[static_cast<std::size_t>(i)] = i * (T - 1) / (count - 1);
  return tokens;
}

bool within_bounds(const Errors& errors) {
  return std::all_of(errors.begin(), errors.end(), [](const auto& entry) { return entry.second.ok(); });
}

Sample::Sample(const InputSets& sets, double x_std)
    : sets_(sets), tokens_(sampled_tokens(sets.tokens())), expected_(sets.expected(tokens_, x_std)) {}

void Sample::compare_tokens(Errors& errors, int set) const {
  for (const oracle::Reference& output : expected_.outputs)
    if (output.row_size > 0) compare(errors, output, sets_.call(set).rows_of(output.name, tokens_));
}

void Sample::compare_sums(Errors& errors) const {
  for (const oracle::Reference& output : expected_.outputs)
    if (output.row_size == 0) compare(errors, output, sets_.call(0).values_of(output.name));
}

void Sample::compare(Errors& errors, const oracle::Reference& reference, const std::vector<double>& values) const {
  const codegen::Problem& problem = sets_.problem();
  oracle::Comparison found =
      oracle::compare(reference, values, {static_cast<mhcjit_dtype>(problem.dtype), problem.has_fp32_dx});
  // Rows are those of the sample; what is reported is the token.
  if (found.worst_row >= 0) found.worst_row = tokens_[static_cast<std::size_t>(found.worst_row)];
  oracle::Comparison& worst = errors.try_emplace(std::string(reference.name), found).first->second;
  if (found.share() > worst.share()) worst = found;
}

Errors check_accuracy(const InputSets& sets) {
  Errors errors;
  Sample(sets, InputSets::x_std).compare_tokens(errors);
  for (const double x_std : deviations) {
    sets.run_sample(sampled_tokens(sets.tokens()), x_std);
    const Sample sample(sets, x_std);
    sample.compare_tokens(errors);
    sample.compare_sums(errors);
  }
  return errors;
}

}  // namespace mhcjit::bench
