// Every legal spec for many tokens on one shape: what the heuristic picks from, measured.
#pragma once

#include <functional>

#include "bench/compiled_spec.h"
#include "bench/operator_bench.h"

namespace mhcjit::bench {

struct CandidateResult {
  codegen::KernelSpec spec;
  std::vector<cache::KernelResources> kernels;
  double estimated_cost = 0.0;
  bool is_chosen = false;  // by the heuristic, without measuring
  Timing graph;            // launches replayed from a graph, the L2 cache cold
  Errors errors;           // with x of standard deviation 1
  std::string failure;     // "": measured

  bool ok() const { return failure.empty() && within_bounds(errors); }
};

struct CandidateResults {
  double floor_us = 0.0;
  std::vector<CandidateResult> candidates;
};

// Not for few tokens: they have a kernel of their own.
bool depends_on_candidates(const codegen::Problem& problem, std::int64_t tokens);

std::vector<codegen::KernelSpec> legal_candidates(const codegen::Problem& problem);

// `compiled` are those of `problem`, a pre_forward. `announce` is called with each spec before its first launch, so
// that one that hangs is known. Throws std::runtime_error when no call can be made at all.
CandidateResults bench_candidates(const Run& run, const codegen::Problem& problem, std::int64_t tokens,
                                  const std::vector<CompiledSpec>& compiled,
                                  const std::function<void(const codegen::KernelSpec&)>& announce);

}  // namespace mhcjit::bench
