// Every legal plan on one shape: what the library chooses from, measured.
#pragma once

#include <functional>

#include "bench/compiled_plan.h"
#include "bench/operator_bench.h"

namespace mhcjit::bench {

struct CandidateResult {
  codegen::PlanPtr plan;
  std::vector<cache::KernelResources> kernels;
  double estimated_us = 0.0;
  bool is_chosen = false;  // by the library, without measuring
  Timing graph;            // launches replayed from a graph, the L2 cache cold
  Errors errors;           // with x of standard deviation 1
  std::string failure;     // "": measured

  bool ok() const { return failure.empty() && within_bounds(errors); }
};

struct CandidateResults {
  double floor_us = 0.0;
  std::vector<CandidateResult> candidates;
};

std::vector<codegen::PlanPtr> legal_candidates(const codegen::Problem& problem);

// `compiled` are those of `problem`. `announce` is called with each plan before its first launch, so
// that one that hangs is known. Throws std::runtime_error when no call can be made at all.
CandidateResults bench_candidates(const Run& run, const codegen::Problem& problem, std::int64_t tokens,
                                  const std::vector<CompiledPlan>& compiled,
                                  const std::function<void(const codegen::Plan&)>& announce);

}  // namespace mhcjit::bench
