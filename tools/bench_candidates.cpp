#include "tools/bench_candidates.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <thread>

#include "tools/command.h"
#include "tools/warmup_jobs.h"

namespace mhcjit::tools {
namespace {

using bench::CandidateResult;

int spill_bytes(const CandidateResult& candidate) {
  int bytes = 0;
  for (const cache::KernelResources& kernel : candidate.kernels)
    bytes += kernel.spill_store_bytes + kernel.spill_load_bytes;
  return bytes;
}

llvm::json::Object candidate_json(const CandidateResult& candidate, double floor_us) {
  llvm::json::Object json{{"family", llvm::StringRef(candidate.plan->family())},
                          {"plan", codegen::to_string(*candidate.plan)},
                          {"estimated_us", number(candidate.estimated_us)},
                          {"is_chosen", candidate.is_chosen},
                          {"spill_bytes", spill_bytes(candidate)}};
  if (!candidate.failure.empty()) {
    json["failure"] = candidate.failure;
    return json;
  }
  json["median_us"] = number(candidate.graph.median_us);
  json["p10_us"] = number(candidate.graph.p10_us);
  json["p90_us"] = number(candidate.graph.p90_us);
  json["floor_ratio"] = number(candidate.graph.median_us / floor_us);
  json["within_bounds"] = bench::within_bounds(candidate.errors);
  if (!bench::within_bounds(candidate.errors)) json["errors"] = json_of(candidate.errors);
  return json;
}

// A candidate that failed has no times.
std::string tsv_line(const SizedProblem& shape, const CandidateResult& candidate, double floor_us) {
  const bench::Timing none = {.median_us = NAN, .p10_us = NAN, .p90_us = NAN};
  return fmt::format("{}\t{}\t{}{}\t{}\t{}\n", tsv_fields(shape.problem.op->name, shape), candidate.plan->family(),
                     codegen::to_string(candidate.plan->parameters()),
                     tsv_fields(candidate.failure.empty() ? candidate.graph : none), digits(floor_us),
                     candidate.ok() ? 1 : 0);
}

// The fastest of those that are right; nullptr where none is.
const CandidateResult* best_of(const std::vector<CandidateResult>& candidates) {
  const CandidateResult* best = nullptr;
  for (const CandidateResult& candidate : candidates)
    if (candidate.ok() && (best == nullptr || candidate.graph.median_us < best->graph.median_us)) best = &candidate;
  return best;
}

BenchRow row_of(const SizedProblem& shape, const bench::CandidateResults& results) {
  const std::vector<CandidateResult>& all = results.candidates;
  const auto chosen = std::find_if(all.begin(), all.end(), [](const auto& each) { return each.is_chosen; });
  const CandidateResult* best = best_of(all);
  const auto right = std::count_if(all.begin(), all.end(), [](const auto& each) { return each.ok(); });
  BenchRow row = {json_of(shape), "", right == static_cast<std::ptrdiff_t>(all.size())};
  row.json["floor_us"] = number(results.floor_us);
  row.json["right"] = right;
  row.text = fmt::format("{}: {} of {} candidates right", codegen::to_string(shape), right, all.size());
  if (best != nullptr) {
    const double least = best->graph.median_us;
    row.json["best"] = candidate_json(*best, results.floor_us);
    row.text += fmt::format("; best {:.2f} us, {:.2f} of the floor: {}", least, least / results.floor_us,
                            codegen::to_string(*best->plan));
    if (chosen->ok()) {
      row.json["chosen_over_best"] = number(chosen->graph.median_us / least);
      row.text += fmt::format("; chosen {:.2f} us, {:.3f} of the best: {}", chosen->graph.median_us,
                              chosen->graph.median_us / least, codegen::to_string(*chosen->plan));
    }
  }
  row.text += "\n";
  llvm::json::Array candidates;
  for (const CandidateResult& each : all) {
    candidates.push_back(candidate_json(each, results.floor_us));
    row.tsv_lines += tsv_line(shape, each, results.floor_us);
    if (each.ok()) continue;
    row.text += fmt::format("  {}: {}\n", each.failure.empty() ? "WRONG" : "FAILED: " + each.failure,
                            codegen::to_string(*each.plan));
  }
  row.json["candidates"] = std::move(candidates);
  return row;
}

}  // namespace

std::string candidate_columns() {
  return fmt::format("{}\tfamily\tplan\tmedian_us\tp10_us\tp90_us\tfloor_us\tright", tsv_field_names);
}

BenchRow CandidateSweep::measure(const SizedProblem& shape) {
  const std::vector<bench::CompiledPlan>& plans = compiled(shape.problem);
  std::size_t number = 0;
  const auto announce = [&](const codegen::Plan& plan) {
    say(fmt::format("candidate {} of {}: {}", ++number, plans.size(), codegen::to_string(plan)));
  };
  try {
    return row_of(shape, bench::bench_candidates(run_, shape.problem, shape.tokens, plans, announce));
  } catch (const std::runtime_error& failure) {
    return failed_row(shape, failure.what());
  }
}

const std::vector<bench::CompiledPlan>& CandidateSweep::compiled(const codegen::Problem& problem) {
  if (const auto found = compiled_.find(problem); found != compiled_.end()) return found->second;
  const std::vector<codegen::PlanPtr> plans = bench::legal_candidates(problem);
  say(fmt::format("compiling {} candidates of {}", plans.size(), codegen::to_string(problem)));
  const int jobs = default_jobs(std::thread::hardware_concurrency(), available_memory_bytes());
  return compiled_[problem] = bench::compile_plans(plans, static_cast<unsigned>(jobs));
}

}  // namespace mhcjit::tools
