#include "bench/candidates.h"

#include <cstring>
#include <optional>

#include "bench/floor.h"
#include "bench/value_or_throw.h"
#include "codegen/choose.h"

namespace mhcjit::bench {
namespace {

// The calls of `sets` with the kernels of a candidate.
class CandidateCalls {
 public:
  CandidateCalls(const gpu::Gpu& gpu, const InputSets& sets, const CompiledPlan& compiled) : sets_(sets) {
    LoadedPlan loaded = value_or_throw(load_plan(compiled));
    operator_.emplace(loaded.driver, loaded.device, compiled.plan->problem(),
                      std::vector<runtime::LoadedBucket>{std::move(loaded.bucket)});
    workspace_bytes_ = value_or_throw(operator_->workspace_bytes(sets.tokens()));
    workspace_.emplace(gpu, workspace_bytes_, 256);
  }

  void run(int set, CUstream stream = nullptr) const {
    const codegen::Operator& op = *sets_.problem().op;
    const auto* const given = static_cast<const std::byte*>(sets_.call(set).arguments());
    std::vector<std::byte> args(given, given + op.arguments.bytes);
    void* const workspace = workspace_->as();
    std::memcpy(args.data() + op.arguments.workspace, &workspace, sizeof workspace);
    std::memcpy(args.data() + op.arguments.workspace_bytes, &workspace_bytes_, sizeof workspace_bytes_);
    throw_if(operator_->run(op.id, args.data(), stream));
  }

 private:
  const InputSets& sets_;
  std::optional<runtime::GpuOperator> operator_;
  std::size_t workspace_bytes_ = 0;
  std::optional<gpu::DeviceBuffer> workspace_;
};

void measure(const Run& run, const InputSets& sets, const Sample& sample, const CompiledPlan& compiled,
             CandidateResult& result) {
  const CandidateCalls calls(run.gpu, sets, compiled);
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
