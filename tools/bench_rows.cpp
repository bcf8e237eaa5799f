#include "tools/bench_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "bench/choice.h"
#include "codegen/operators.h"
#include "support/error.h"

namespace mhcjit::tools {
namespace {

llvm::StringRef text(std::string_view name) { return {name}; }

double gigabytes_per_second(const bench::Timing& timing, std::size_t bytes) {
  return static_cast<double>(bytes) / timing.median_us * 1e-3;
}

BenchRow row_of(const SizedProblem& shape, const codegen::Plan& plan, const bench::OperatorResult& result) {
  const bool within_bounds = bench::within_bounds(result.errors);
  BenchRow row = {json_of(shape), "", within_bounds};
  row.json["family"] = text(plan.family());
  row.json["plan"] = codegen::to_string(plan);
  row.json["bytes"] = static_cast<std::int64_t>(result.bytes);
  row.json["floor_us"] = number(result.floor_us);
  row.json["input_sets"] = result.input_sets;
  row.json["brief"] = json_of(result.brief, result.bytes, result.floor_us);
  row.json["stream"] = json_of(result.stream, result.bytes, result.floor_us);
  row.json["graph"] = json_of(result.graph, result.bytes, result.floor_us);
  row.json["stream_warm"] = json_of(result.stream_warm, result.bytes, result.floor_us);
  row.json["graph_warm"] = json_of(result.graph_warm, result.bytes, result.floor_us);
  row.json["graph_overlapped"] = json_of(result.graph_overlapped, result.bytes, result.floor_us);
  row.json["errors"] = json_of(result.errors);
  row.json["within_bounds"] = within_bounds;
  row.text = fmt::format(
      "{} {:<10} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f} {:>6.2f} {:>6.2f} {:>6.2f} {:>5.0f}  "
      "{}{}\n",
      columns_of(shape.problem.op->name, shape), plan.family(), result.floor_us, result.brief.median_us,
      result.stream.median_us, result.stream.p90_us, result.graph.median_us, result.graph_warm.median_us,
      result.graph_overlapped.median_us, result.brief.median_us / result.floor_us,
      result.stream.median_us / result.floor_us, result.graph.median_us / result.floor_us,
      gigabytes_per_second(result.stream, result.bytes), worst_of(result.errors), within_bounds ? "" : "  WRONG");
  row.tsv_lines = fmt::format("{}\t{}\t{}\t{}\t{}", tsv_fields(shape.problem.op->name, shape), plan.family(),
                              codegen::to_string(plan.parameters()), result.bytes, digits(result.floor_us));
  for (const bench::Timing& timing :
       {result.brief, result.stream, result.graph, result.stream_warm, result.graph_warm, result.graph_overlapped})
    row.tsv_lines += tsv_fields(timing);
  row.tsv_lines += fmt::format("\t{}\t{}\n", worst_of(result.errors), within_bounds ? 1 : 0);
  return row;
}

}  // namespace

std::string bench_heading() {
  return fmt::format(
      "{:<12} {:>2} {:>5} {:>6} {:<14} {:<10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6} {:>6} {:>6} {:>5}  {}\n",
      "op", "n", "D", "T", "dtype", "family", "floor us", "brief", "stream", "p90", "graph", "warm", "overlap", "brief",
      "stream", "graph", "GB/s", "error nearest to its bound");
}

std::string bench_columns() {
  std::string names = fmt::format("{}\tfamily\tplan\tbytes\tfloor_us", tsv_field_names);
  for (const char* timing : {"brief", "stream", "graph", "stream_warm", "graph_warm", "graph_overlapped"})
    names += tsv_field_names_of(timing);
  return names + "\tnearest_to_bound\tright";
}

BenchRow measure_operator(const bench::Run& run, const SizedProblem& shape) {
  auto buckets = bench::chosen_buckets(shape.problem);
  if (!buckets) return failed_row(shape, take_failure(buckets.takeError()).text);
  const codegen::Plan& plan = *codegen::bucket_of(*buckets, shape.tokens).plan;
  try {
    return row_of(shape, plan, bench::bench_operator(run, shape.problem, shape.tokens));
  } catch (const std::runtime_error& failure) {
    return failed_row(shape, failure.what());
  }
}

BenchRow failed_row(const SizedProblem& shape, const std::string& failure) {
  BenchRow row = {json_of(shape), fmt::format("{} FAILED: {}\n", columns_of(shape.problem.op->name, shape), failure),
                  false};
  row.json["failure"] = failure;
  row.tsv_lines = "# " + row.text;
  return row;
}

llvm::json::Object json_of(const SizedProblem& shape) {
  const codegen::Problem& problem = shape.problem;
  return llvm::json::Object{{"op", text(problem.op->name)},
                            {"n", problem.n},
                            {"D", problem.d},
                            {"T", shape.tokens},
                            {"dtype", text(codegen::to_string(problem.dtype))},
                            {"gamma", problem.has_gamma},
                            {"batch_invariant", problem.batch_invariant},
                            {"fp32_dx", problem.has_fp32_dx}};
}

llvm::json::Object json_of(const bench::Errors& errors) {
  llvm::json::Object tensors;
  for (const auto& [tensor, worst] : errors) {
    llvm::json::Object json{{"error", number(worst.error)}, {"bound", number(worst.bound)}};
    if (worst.worst_row >= 0) {
      json["worst_row"] = worst.worst_row;
      json["row_error"] = number(worst.row_error);
      json["row_bound"] = number(worst.row_bound());
    }
    tensors[tensor] = std::move(json);
  }
  return tensors;
}

llvm::json::Object json_of(const bench::Timing& timing, std::size_t bytes, double floor_us) {
  return llvm::json::Object{{"median_us", number(timing.median_us)},
                            {"p10_us", number(timing.p10_us)},
                            {"p90_us", number(timing.p90_us)},
                            {"floor_ratio", number(timing.median_us / floor_us)},
                            {"gigabytes_per_second", number(gigabytes_per_second(timing, bytes))},
                            {"samples", timing.samples},
                            {"launches_per_sample", timing.launches_per_sample}};
}

std::string columns_of(std::string_view op, const SizedProblem& shape) {
  const codegen::Problem& problem = shape.problem;
  return fmt::format("{:<12} {:>2} {:>5} {:>6} {:<14}", op, problem.n, problem.d, shape.tokens,
                     fmt::format("{}{}{}{}", codegen::to_string(problem.dtype), problem.has_gamma ? " gamma" : "",
                                 problem.batch_invariant ? " invariant" : "", problem.has_fp32_dx ? " fp32_dx" : ""));
}

std::string tsv_fields(std::string_view op, const SizedProblem& shape) {
  const codegen::Problem& problem = shape.problem;
  return fmt::format("{}\t{}\t{}\t{}\t{}\t{:d}\t{:d}\t{:d}", op, problem.n, problem.d, shape.tokens,
                     codegen::to_string(problem.dtype), problem.has_gamma, problem.batch_invariant,
                     problem.has_fp32_dx);
}

std::string tsv_fields(const bench::Timing& timing) {
  return fmt::format("\t{}\t{}\t{}", digits(timing.median_us), digits(timing.p10_us), digits(timing.p90_us));
}

std::string tsv_field_names_of(std::string_view name) { return fmt::format("\t{0}_us\t{0}_p10_us\t{0}_p90_us", name); }

std::string worst_of(const bench::Errors& errors) {
  const auto& [tensor, worst] =
      *std::ranges::max_element(errors, {}, [](const auto& entry) { return entry.second.share(); });
  if (worst.row_error / worst.row_bound() > worst.error / worst.bound)
    return fmt::format("{} {:.1e} of {:.1e} in row {}", tensor, worst.row_error, worst.row_bound(), worst.worst_row);
  return fmt::format("{} {:.1e} of {:.1e}", tensor, worst.error, worst.bound);
}

std::string digits(double value) { return fmt::format("{:.5g}", value); }

llvm::json::Value number(double value) {
  if (!std::isfinite(value)) return nullptr;
  return std::strtod(digits(value).c_str(), nullptr);
}

}  // namespace mhcjit::tools
