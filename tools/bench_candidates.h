// Rows of `mhcjit bench --candidates`: the candidates of one shape.
#pragma once

#include "bench/candidates.h"
#include "tools/bench_rows.h"

namespace mhcjit::tools {

// The TSV's column names.
std::string candidate_columns();

// All legal candidates of each shape, compiled once for a problem.
class CandidateSweep {
 public:
  explicit CandidateSweep(const bench::Run& run) : run_(run) {}

  BenchRow measure(const SizedProblem& shape);

 private:
  const std::vector<bench::CompiledPlan>& compiled(const codegen::Problem& problem);

  const bench::Run& run_;
  std::map<codegen::Problem, std::vector<bench::CompiledPlan>> compiled_;
};

}  // namespace mhcjit::tools
