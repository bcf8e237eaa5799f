// The row of `mhcjit bench --chain` for one shape.
#pragma once

#include "tools/bench_rows.h"

namespace mhcjit::tools {

// The line above the table, and the TSV's column names.
std::string chain_heading();
std::string chain_columns();

// `shape` is of an operator that reads what another saves.
BenchRow measure_chain(const bench::Run& run, const SizedProblem& shape, int layers);

}  // namespace mhcjit::tools
