// Chooses the plans that share out a problem's range of T, from measurements.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "codegen/plan.h"
#include "tuning/decide.h"

namespace mhcjit::tuning {

// Plans closer than this swap ranks from one sweep to the next.
inline constexpr double least_gain = 0.02;

// The measurements of one T.
struct Measured {
  std::int64_t tokens = 0;
  std::map<std::string, Result> results;  // by the plan's name
  std::string present;

  const Result* of(const std::string& plan) const {
    const auto found = results.find(plan);
    return found == results.end() ? nullptr : &found->second;
  }
  // Whether the plan may serve: it is the present one, or it beats that.
  bool allows(const std::string& plan) const {
    const Result* result = of(plan);
    if (result == nullptr || plan == present) return result != nullptr;
    const Result* now = of(present);
    return now == nullptr || beats(*result, *now);
  }
};

// Returns the plan of each row, from those that may serve it. They have no more plans and kernels in all than choose()
// would give a problem, and they add in one order if the problem is batch-invariant. Plans that are nearly as fast as
// the fastest count as alike, and the cheapest estimate decides among them. `legal` has all legal plans by name. The
// result is empty if no plans serve all rows.
std::vector<std::string> share_out(const codegen::Problem& problem, const std::vector<Measured>& rows,
                                   const std::map<std::string, codegen::PlanPtr>& legal);

}  // namespace mhcjit::tuning
