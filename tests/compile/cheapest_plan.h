// Which plan of a family the compile tests look at.
#pragma once

#include "codegen/operator.h"
#include "codegen/plan.h"

namespace mhcjit::test {

// The cheapest for so many tokens, of those with clusters or of those without; null where none is legal.
inline codegen::PlanPtr cheapest_plan(const codegen::Problem& problem, const codegen::Family& family,
                                      bool uses_clusters, std::int64_t tokens) {
  const codegen::Device& device = codegen::device_of(problem.architecture);
  codegen::PlanPtr cheapest;
  for (codegen::Candidate& candidate : family.candidates(problem, device))
    if (candidate.legal() && candidate.plan->uses_clusters() == uses_clusters &&
        (!cheapest || candidate.plan->cost_us(tokens, device) < cheapest->cost_us(tokens, device)))
      cheapest = std::move(candidate.plan);
  return cheapest;
}

}  // namespace mhcjit::test
