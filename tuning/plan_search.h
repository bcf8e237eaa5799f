// Which plans share out the numbers of tokens of a problem that were measured.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "codegen/plan.h"
#include "tuning/decide.h"

namespace mhcjit::tuning {

// Plans closer than this change places from one sweep to the next.
inline constexpr double least_gain = 0.02;

// What is known of one T.
struct Measured {
  std::int64_t tokens = 0;
  std::map<std::string, Result> results;  // by the plan's name
  std::string present;

  const Result* of(const std::string& plan) const {
    const auto found = results.find(plan);
    return found == results.end() ? nullptr : &found->second;
  }
  // Whether the plan may serve: the present one, and what beats it.
  bool allows(const std::string& plan) const {
    const Result* result = of(plan);
    if (result == nullptr || plan == present) return result != nullptr;
    const Result* now = of(present);
    return now == nullptr || beats(*result, *now);
  }
};

// The plan of each row, of those that may serve it: no more plans and kernels in all than choose() would give a
// problem, which add in one order where the problem is batch-invariant. Plans that are nearly as fast as the fastest
// count as alike, and the cheapest estimate decides among them. `legal` has all legal plans by name. Empty where no
// plans serve all rows.
std::vector<std::string> share_out(const codegen::Problem& problem, const std::vector<Measured>& rows,
                                   const std::map<std::string, codegen::PlanPtr>& legal);

}  // namespace mhcjit::tuning
