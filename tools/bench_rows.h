// Rows of `mhcjit bench`: one operator on one shape.
#pragma once

#include <string>

#include <llvm/Support/JSON.h>

#include "bench/operator_bench.h"
#include "tools/shapes.h"

namespace mhcjit::tools {

struct BenchRow {
  llvm::json::Object json;
  std::string text;            // a line of the table
  bool ok = false;             // measured, and right
  std::string tsv_lines = {};  // a row, or comments
};

// The line above the table, and the TSV's column names.
std::string bench_heading();
std::string bench_columns();

BenchRow measure_operator(const bench::Run& run, const SizedProblem& shape);

// The row of a shape that could not be measured, a comment of the TSV.
BenchRow failed_row(const SizedProblem& shape, const std::string& failure);

// The fields that every row begins with.
llvm::json::Object json_of(const SizedProblem& shape);

llvm::json::Object json_of(const bench::Errors& errors);

// A timing of what moves `bytes`, for which a plain copy takes `floor_us`.
llvm::json::Object json_of(const bench::Timing& timing, std::size_t bytes, double floor_us);

// The columns that every line of a table begins with.
std::string columns_of(std::string_view op, const SizedProblem& shape);

// The fields that every row of a TSV begins with, and their names.
std::string tsv_fields(std::string_view op, const SizedProblem& shape);
inline constexpr std::string_view tsv_field_names = "op\tn\tD\tT\tdtype\tgamma\tbatch_invariant\tfp32_dx";

// A timing's fields behind others, and the names of those of the timing `name`.
std::string tsv_fields(const bench::Timing& timing);
std::string tsv_field_names_of(std::string_view name);

// The tensor that is nearest to its bound, or the farthest beyond it.
std::string worst_of(const bench::Errors& errors);

// To five digits, which is more than a measurement has. JSON has no NaN and no infinity: null stands for both.
std::string digits(double value);
llvm::json::Value number(double value);

}  // namespace mhcjit::tools
