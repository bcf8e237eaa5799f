#include "tools/bench_chain.h"

#include <fmt/format.h>

#include "bench/chain.h"
#include "bench/choice.h"
#include "support/error.h"

namespace mhcjit::tools {
namespace {

constexpr const char* name = "chain";

// "FAMILY cluster_size=4 ...", of each operator by its name.
llvm::Expected<llvm::json::Object> plans_of(const SizedProblem& shape) {
  llvm::json::Object plans;
  for (const codegen::Problem& problem : bench::needed_problems(shape.problem)) {
    auto buckets = bench::chosen_buckets(problem);
    if (!buckets) return buckets.takeError();
    plans[llvm::StringRef(problem.op->name)] = to_string(*codegen::bucket_of(*buckets, shape.tokens).plan);
  }
  return plans;
}

BenchRow row_of(const SizedProblem& shape, int layers, llvm::json::Object plans, const bench::ChainResult& result) {
  const bool within_bounds = bench::within_bounds(result.errors);
  BenchRow row = {json_of(shape), "", within_bounds};
  row.json["layers"] = layers;
  row.json["layer_sets"] = result.layer_sets;
  row.json["plans"] = std::move(plans);
  row.json["bytes"] = static_cast<std::int64_t>(result.bytes);
  row.json["floor_us"] = number(result.floor_us);
  row.json["graph"] = json_of(result.graph, result.bytes, result.floor_us);
  row.json["graph_overlapped"] = json_of(result.graph_overlapped, result.bytes, result.floor_us);
  row.json["errors"] = json_of(result.errors);
  row.json["within_bounds"] = within_bounds;
  row.text =
      fmt::format("{} {:>6} {:>6} {:>10.1f} {:>10.1f} {:>10.1f} {:>6.2f} {:>8.2f}  {}{}\n", columns_of(name, shape),
                  layers, result.layer_sets, result.floor_us, result.graph.median_us, result.graph_overlapped.median_us,
                  result.graph.median_us / result.floor_us, result.graph_overlapped.median_us / result.floor_us,
                  worst_of(result.errors), within_bounds ? "" : "  WRONG");
  std::vector<std::string> plan_names;
  for (const auto& [op, plan] : *row.json.getObject("plans"))
    plan_names.push_back(fmt::format("{} {}", std::string_view(op.str()), std::string_view(*plan.getAsString())));
  row.tsv_lines =
      fmt::format("{}\t{}\t{}\t{}\t{}\t{}{}{}\t{}\t{}\n", tsv_fields(name, shape), layers, result.layer_sets,
                  fmt::join(plan_names, "; "), result.bytes, digits(result.floor_us), tsv_fields(result.graph),
                  tsv_fields(result.graph_overlapped), worst_of(result.errors), within_bounds ? 1 : 0);
  return row;
}

}  // namespace

std::string chain_heading() {
  return fmt::format("{:<12} {:>2} {:>5} {:>6} {:<14} {:>6} {:>6} {:>10} {:>10} {:>10} {:>6} {:>8}  {}\n", "op", "n",
                     "D", "T", "dtype", "layers", "sets", "floor us", "graph", "overlap", "graph", "overlap",
                     "error nearest to its bound");
}

std::string chain_columns() {
  return fmt::format("{}\tlayers\tlayer_sets\tplans\tbytes\tfloor_us{}{}\tnearest_to_bound\tright", tsv_field_names,
                     tsv_field_names_of("graph"), tsv_field_names_of("graph_overlapped"));
}

BenchRow measure_chain(const bench::Run& run, const SizedProblem& shape, int layers) {
  BenchRow row;
  if (auto plans = plans_of(shape)) {
    try {
      row = row_of(shape, layers, std::move(*plans), bench::bench_chain(run, shape.problem, shape.tokens, layers));
    } catch (const std::runtime_error& failure) {
      row = failed_row(shape, failure.what());
    }
  } else {
    row = failed_row(shape, take_failure(plans.takeError()).text);
  }
  row.json["op"] = name;
  return row;
}

}  // namespace mhcjit::tools
