// The row of `mhcjit bench --chain` for one shape.
#pragma once

#include "tools/bench_rows.h"

namespace mhcjit::tools {

// The line above the table.
std::string chain_heading();

// `shape` is of an operator that reads what another saves.
BenchRow measure_chain(const bench::Run& run, const SizedProblem& shape, int layers);

}  // namespace mhcjit::tools
