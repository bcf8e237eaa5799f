#include "tests/family/rows.h"

#include <vector>

#include <fmt/format.h>

#include "codegen/operators.h"

namespace mhcjit::test {
namespace {

using codegen::Candidate;
using codegen::Problem;

constexpr std::string_view family_name = "rows";
constexpr int most_streams = 4;
constexpr std::int64_t most_columns = 4096;

class Rows final : public codegen::Plan {
 public:
  Rows(const Problem& problem, int threads)
      : Plan(problem, family_name, {{"threads", threads}}), blocks_at_once_(2048 / threads) {
    const int sums = problem.rows() + 1;
    kernels_ = {
        {.name = "pre_forward_rows",
         .header = "family/rows.cuh",
         .plan = "PreForwardRows",
         .constants = codegen::with_shape(problem, {{"has_gamma", problem.has_gamma}, {"threads_per_block", threads}}),
         .threads_per_block = threads,
         .dynamic_smem_bytes = threads / codegen::warp_size * sums * 4}};
  }

  codegen::Grid grid(std::size_t, std::int64_t tokens, const codegen::Device&) const override {
    return codegen::grid_of_blocks(tokens);
  }

  double cost_us(std::int64_t tokens, const codegen::Device& device) const override {
    constexpr double launch_us = 3.0;
    constexpr double clocks_of_token = 4000.0;
    const double at_once = device.multiprocessors * blocks_at_once_;
    return launch_us + device.microseconds(clocks_of_token * (1.0 + static_cast<double>(tokens) / at_once));
  }

 private:
  const int blocks_at_once_;
};

Candidate candidate(const Problem& problem, int threads) {
  Candidate result = {nullptr, {{"threads", threads}}, ""};
  if (problem.n > most_streams)
    result.rejected = fmt::format("n is {}, a thread has sums for up to {}", problem.n, most_streams);
  else if (problem.columns() > most_columns)
    result.rejected = fmt::format("{} columns are many for one block, allowed: {}", problem.columns(), most_columns);
  else
    result.plan = std::make_shared<Rows>(problem, threads);
  return result;
}

std::vector<Candidate> candidates(const Problem& problem, const codegen::Device&) {
  return {candidate(problem, 64), candidate(problem, 256)};
}

}  // namespace

constinit const codegen::Family rows = {family_name, candidates};

const codegen::Operator& forward_with_rows() {
  static const std::vector<const codegen::Family*> families = [] {
    std::vector<const codegen::Family*> list(codegen::pre_forward.families.begin(),
                                             codegen::pre_forward.families.end());
    list.push_back(&rows);
    return list;
  }();
  static const codegen::Operator op = [] {
    codegen::Operator copy = codegen::pre_forward;
    copy.families = families;
    return copy;
  }();
  return op;
}

Problem small_problem() { return {&forward_with_rows(), 4, 40, codegen::DType::bf16, true, false, {9, 0, 'a'}}; }

}  // namespace mhcjit::test
