// What `mhcjit bench` says about one operator on one shape.
#pragma once

#include <string>

#include <llvm/Support/JSON.h>

#include "bench/operator_bench.h"
#include "codegen/kernel_spec.h"
#include "tools/shapes.h"

namespace mhcjit::tools {

struct BenchRow {
  SizedProblem asked;
  codegen::KernelSpec spec;
  bench::OperatorResult result;
  std::string failure;  // "": measured

  bool ok() const { return failure.empty() && bench::within_bounds(result.errors); }
};

// "pre_forward n=4 D=4096 bf16 sm_90a T=8192"
std::string name_of(const SizedProblem& problem);

llvm::json::Object json_of(const BenchRow& row);

// A line of a table, and the line above it.
std::string text_of(const BenchRow& row);
std::string bench_heading();

// To five digits, which is more than a measurement has. JSON has no NaN and no infinity: null stands for both.
llvm::json::Value number(double value);

}  // namespace mhcjit::tools
