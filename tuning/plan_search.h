// Which plans share out the numbers of tokens of a problem that were measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "codegen/plan.h"
#include "tuning/decide.h"

namespace mhcjit::tuning {

// Plans closer than this change places from one sweep to the next.
inline constexpr double least_gain = 0.02;

// The most kernels of a problem's plans: one more than choose() compiles for an estimated gain, as a measured one is
// worth more. On an H200 five kernels lose a factor of 2.35 at n = 8, D 2560, T 1024; a seventh gains nothing.
inline constexpr std::size_t max_kernels = 6;

// What is known of one T.
struct Measured {
  std::int64_t tokens = 0;
  std::map<std::string, Result> results;  // by the plan's name
  std::string present;

  const Result* of(const std::string& plan) const {
    const auto found = results.find(plan);
    return found == results.end() ? nullptr : &found->second;
  }
  // Whether the plan serves in its own right: it is the present one, or beats it.
  bool is_good(const std::string& plan) const {
    const Result* result = of(plan);
    if (result == nullptr || plan == present) return result != nullptr;
    const Result* now = of(present);
    return now == nullptr || beats(*result, *now);
  }
  // Whether it may serve for the sake of other T's: it is not slower, as far as can be told.
  bool is_as_good(const std::string& plan) const {
    const Result *result = of(plan), *now = of(present);
    return result != nullptr && (now == nullptr || result->us <= now->us + now->spread_us + result->spread_us);
  }
};

// The plan of each row: no more than max_plans and max_kernels in all, which add in one order where the problem is
// batch-invariant. A plan that does not beat the present one takes its place only where that lets others gain more.
// Among plans that are as fast as one another the cheapest estimate decides. `legal` has all legal plans by name. Empty
// where no plans serve all rows.
std::vector<std::string> share_out(const codegen::Problem& problem, const std::vector<Measured>& rows,
                                   const std::map<std::string, codegen::PlanPtr>& legal);

}  // namespace mhcjit::tuning
