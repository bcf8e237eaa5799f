#include "tools/bench_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

namespace mhcjit::tools {
namespace {

llvm::StringRef text(std::string_view name) { return {name}; }

double gigabytes_per_second(const BenchRow& row, const bench::Timing& timing) {
  return static_cast<double>(row.result.bytes) / timing.median_us * 1e-3;
}

llvm::json::Object json_of(const BenchRow& row, const bench::Timing& timing) {
  return llvm::json::Object{{"median_us", number(timing.median_us)},
                            {"p10_us", number(timing.p10_us)},
                            {"p90_us", number(timing.p90_us)},
                            {"floor_ratio", number(timing.median_us / row.result.floor_us)},
                            {"gigabytes_per_second", number(gigabytes_per_second(row, timing))},
                            {"samples", timing.samples},
                            {"launches_per_sample", timing.launches_per_sample}};
}

llvm::json::Object json_of(const bench::Errors& errors) {
  llvm::json::Object tensors;
  for (const auto& [tensor, error] : errors)
    tensors[tensor] = llvm::json::Object{{"error", number(error.error)}, {"bound", number(error.bound)}};
  return tensors;
}

// The tensor that is nearest to its bound, or the farthest beyond it.
std::string worst_of(const bench::Errors& errors) {
  const auto share = [](const bench::TensorError& error) {
    return std::isnan(error.error) ? HUGE_VAL : error.error / error.bound;
  };
  const auto worst = std::max_element(errors.begin(), errors.end(), [&](const auto& left, const auto& right) {
    return share(left.second) < share(right.second);
  });
  return fmt::format("{} {:.1e} of {:.1e}", worst->first, worst->second.error, worst->second.bound);
}

}  // namespace

llvm::json::Value number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(fmt::format("{:.5g}", value).c_str(), nullptr);
}

std::string name_of(const SizedProblem& problem) {
  return fmt::format("{} T={}", codegen::to_string(problem.problem), problem.tokens);
}

llvm::json::Object json_of(const BenchRow& row) {
  const codegen::Problem& problem = row.asked.problem;
  llvm::json::Object json{{"op", text(codegen::to_string(problem.op))},
                          {"n", problem.n},
                          {"D", problem.d},
                          {"T", row.asked.tokens},
                          {"dtype", text(codegen::to_string(problem.dtype))},
                          {"gamma", problem.has_gamma},
                          {"batch_invariant", problem.batch_invariant},
                          {"template", text(codegen::to_string(row.spec.kernel_template))},
                          {"spec", codegen::to_string(row.spec)}};
  if (!row.failure.empty()) {
    json["failure"] = row.failure;
    return json;
  }
  const bench::OperatorResult& result = row.result;
  json["bytes"] = static_cast<std::int64_t>(result.bytes);
  json["floor_us"] = number(result.floor_us);
  json["input_sets"] = result.input_sets;
  json["stream"] = json_of(row, result.stream);
  json["graph"] = json_of(row, result.graph);
  json["stream_warm"] = json_of(row, result.stream_warm);
  json["graph_warm"] = json_of(row, result.graph_warm);
  json["errors"] = json_of(result.errors);
  json["within_bounds"] = bench::within_bounds(result.errors);
  return json;
}

std::string bench_heading() {
  return fmt::format("{:<12} {:>2} {:>5} {:>6} {:<10} {:<9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>5}  {}\n",
                     "op", "n", "D", "T", "dtype", "template", "floor us", "stream", "p90", "graph", "warm", "stream",
                     "graph", "GB/s", "error nearest to its bound");
}

std::string text_of(const BenchRow& row) {
  const codegen::Problem& problem = row.asked.problem;
  const bench::OperatorResult& result = row.result;
  const std::string left = fmt::format(
      "{:<12} {:>2} {:>5} {:>6} {:<10} {:<9}", codegen::to_string(problem.op), problem.n, problem.d, row.asked.tokens,
      fmt::format("{}{}", codegen::to_string(problem.dtype), problem.has_gamma ? " gamma" : ""),
      codegen::to_string(row.spec.kernel_template));
  if (!row.failure.empty()) return fmt::format("{} FAILED: {}\n", left, row.failure);
  return fmt::format("{} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>6.2f} {:>6.2f} {:>5.0f}  {}{}\n", left,
                     result.floor_us, result.stream.median_us, result.stream.p90_us, result.graph.median_us,
                     result.graph_warm.median_us, result.stream.median_us / result.floor_us,
                     result.graph.median_us / result.floor_us, gigabytes_per_second(row, result.stream),
                     worst_of(result.errors), bench::within_bounds(result.errors) ? "" : "  WRONG");
}

}  // namespace mhcjit::tools
