// What the tests of whole operators share: one instance for each problem that the program was built with.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "operator_run.h"
#include "oracle/garbage.h"
#include "oracle/outputs.h"
#include "oracle/random_inputs.h"

namespace mhcjit::sim {

// With `entry`, those alone that have such a kernel: the problems of a family.
inline std::vector<std::string_view> problem_names(const codegen::Operator& op, std::string_view entry = "") {
  const auto is_asked_for = [&](const Unit& unit) {
    return unit.op == op.name && (entry.empty() || std::ranges::count(unit.entries, entry, &Entry::name) != 0);
  };
  std::vector<std::string_view> names;
  for (const Unit* unit : units())
    if (is_asked_for(*unit)) names.push_back(unit->problem);
  return names;
}

inline std::string problem_name(const ::testing::TestParamInfo<std::string_view>& info) {
  return std::string(info.param);
}

// One of `parts` equal parts.
inline std::vector<double> part_of(const std::vector<double>& values, std::int64_t part, std::int64_t parts) {
  const std::size_t size = values.size() / parts;
  return {values.begin() + part * size, values.begin() + (part + 1) * size};
}

// The bytes of one token of tensors that have `tokens` rows.
inline Tensors rows_of(const Tensors& tensors, std::int64_t token, std::int64_t tokens) {
  Tensors rows;
  for (const auto& [name, bytes] : tensors) {
    const std::size_t size = bytes.size() / tokens;
    rows[name].assign(bytes.begin() + token * size, bytes.begin() + (token + 1) * size);
  }
  return rows;
}

// Garbage in other rows has changed none.
inline void expect_others_unchanged(const Tensors& clean, const Outcome& outcome, std::int64_t tokens) {
  ASSERT_EQ(outcome.fault, "");
  for (const auto& [name, bytes] : clean)
    EXPECT_EQ(oracle::changed_rows(bytes, outcome.outputs.at(name), tokens), std::vector<std::int64_t>()) << name;
}

inline oracle::Inputs token_of(oracle::Inputs inputs, std::int64_t token, std::int64_t tokens) {
  inputs.x = part_of(inputs.x, token, tokens);
  return inputs;
}

template <const codegen::Operator* operation>
class ProblemTest : public ::testing::TestWithParam<std::string_view> {
 protected:
  Operator& op() { return op_; }
  const codegen::Problem& problem() const { return op_.problem(); }
  mhcjit_dtype x_dtype() const { return public_dtype(problem().dtype); }
  oracle::DTypes dtypes() const { return {x_dtype(), problem().has_fp32_dx}; }

  oracle::RandomOptions random(std::int64_t tokens, double x_std = 1.0,
                               std::array<double, 3> alpha = oracle::initial_alpha) const {
    return {shape_of(problem(), tokens), x_dtype(), static_cast<std::uint64_t>(tokens), x_std, alpha};
  }

  void expect_right(const oracle::Reference& reference, const std::vector<double>& values) const {
    const oracle::Comparison comparison = oracle::compare(reference, values, dtypes());
    EXPECT_TRUE(comparison.ok()) << reference.name << ": " << to_string(comparison);
  }

 private:
  Operator op_ = find_operator(GetParam(), *operation);
};

}  // namespace mhcjit::sim
