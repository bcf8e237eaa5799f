#include "bench/candidates.h"

#include "bench/floor.h"
#include "bench/plan_calls.h"
#include "bench/value_or_throw.h"
#include "codegen/choose.h"

namespace mhcjit::bench {
namespace {

void measure(const Run& run, const InputSets& sets, const Sample& sample, const CompiledPlan& compiled,
             CandidateResult& result) {
  const PlanCalls calls(run.gpu, sets, value_or_throw(load_plan(compiled)));
  sets.call(0).poison();
  calls.run(0);
  run.gpu.synchronize();
  sample.compare_tokens(result.errors);
  const Enqueue rotating = [&](CUstream stream, int i) { calls.run(i % sets.count(), stream); };
  result.graph = time_graph(run.gpu, rotating, sets.count(), run.seconds);
  // Also what launches behind one another have left.
  sample.compare_tokens(result.errors);
}

}  // namespace

std::vector<codegen::PlanPtr> legal_candidates(const codegen::Problem& problem) {
  std::vector<codegen::PlanPtr> plans;
  for (auto& [family, candidate] : codegen::candidates(problem, codegen::device_of(problem.architecture)))
    if (candidate.legal()) plans.push_back(std::move(candidate.plan));
  return plans;
}

CandidateResults bench_candidates(const Run& run, const codegen::Problem& problem, std::int64_t tokens,
                                  const std::vector<CompiledPlan>& compiled,
                                  const std::function<void(const codegen::Plan&)>& announce) {
  const std::unique_ptr<const InputSets> made = make_input_sets(run.gpu, run.engine, problem, tokens);
  const InputSets& sets = *made;
  const Sample sample(sets, InputSets::x_std);
  const std::vector<codegen::Bucket> buckets = value_or_throw(codegen::choose(problem));
  const std::string chosen = codegen::to_string(*codegen::bucket_of(buckets, tokens).plan);
  const codegen::Device& device = codegen::device_of(problem.architecture);
  CandidateResults results;
  results.floor_us = static_cast<double>(floor_bytes(problem, tokens)) / run.copy_gigabytes_per_second * 1e-3;
  for (const CompiledPlan& each : compiled) {
    CandidateResult& result = results.candidates.emplace_back();
    result.plan = each.plan;
    for (const cache::CompiledKernel& kernel : each.kernels) result.kernels.push_back(kernel.resources);
    result.estimated_us = each.plan->cost_us(tokens, device);
    result.is_chosen = codegen::to_string(*each.plan) == chosen;
    result.failure = each.failure;
    if (!each.failure.empty()) continue;
    announce(*each.plan);
    try {
      measure(run, sets, sample, each, result);
    } catch (const std::runtime_error& failure) {
      result.failure = failure.what();
    }
  }
  return results;
}

}  // namespace mhcjit::bench
