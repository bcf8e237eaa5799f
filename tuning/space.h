// The space of a sweep: for each problem and T, the plans that the estimate does not rule out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <llvm/Support/Error.h>

#include "codegen/plan.h"

namespace mhcjit::tuning {

// Limits the legal plans that are tried at a T.
struct Pruning {
  // A plan's estimated time is at most so many times the least. The best plans of the committed measurements have at
  // most 1.13.
  double margin = 1.2;
  // Only this many are tried, the cheapest.
  std::size_t most = 10;
};

// One problem at one T.
struct Row {
  codegen::SizedProblem shape;
  // The cheapest by the estimate come first, and the present plan is among them, wherever it ranks.
  std::vector<codegen::PlanPtr> candidates;
  std::size_t present = 0;  // the index of the plan that serves without a record
  std::size_t pruned = 0;   // legal plans that are not tried
};

// Makes a row of each shape, in their order. Rows of one problem share their plans. Errors: those of choose().
llvm::Expected<std::vector<Row>> rows_of(std::span<const codegen::SizedProblem> shapes, const Pruning& pruning);

// Returns the least time of a call: that of a plain copy of the bytes that must move.
double floor_us(const Row& row, double copy_gigabytes_per_second);

// Tells apart program versions whose families list other candidates. It is a digest over all candidates of a fixed set
// of problems on the device of an architecture, the illegal ones with their reasons.
std::string space_digest(const codegen::Architecture& architecture);

}  // namespace mhcjit::tuning
