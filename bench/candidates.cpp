#include "bench/candidates.h"

#include <optional>

#include "bench/floor.h"
#include "bench/value_or_throw.h"
#include "codegen/candidates.h"
#include "codegen/heuristic.h"

namespace mhcjit::bench {
namespace {

// What the library chooses for many tokens: without the kernel that it adds for few.
codegen::KernelSpec chosen_spec(const codegen::Problem& problem) {
  codegen::KernelSpec chosen = value_or_throw(codegen::choose_spec(problem));
  chosen.few_max_tokens = 0;
  chosen.few_cluster_size = chosen.few_gemm_warps = chosen.few_chunks_per_warp = chosen.few_stages = 0;
  return chosen;
}

// The calls of `sets` with the kernels of a candidate.
class CandidateCalls {
 public:
  CandidateCalls(const gpu::Gpu& gpu, const InputSets& sets, const CompiledSpec& compiled) : sets_(sets) {
    LoadedSpec loaded = value_or_throw(load_spec(compiled));
    operator_.emplace(loaded.driver, loaded.device, compiled.spec, std::move(loaded.kernels));
    workspace_bytes_ = value_or_throw(operator_->workspace_bytes(sets.tokens()));
    workspace_.emplace(gpu, workspace_bytes_, 256);
  }

  void run(int set, CUstream stream = nullptr) const {
    mhcjit_pre_forward_args args = sets_.forward(set).args;
    args.workspace = workspace_->as();
    args.workspace_bytes = workspace_bytes_;
    throw_if(operator_->pre_forward(args, stream));
  }

 private:
  const InputSets& sets_;
  std::optional<runtime::GpuOperator> operator_;
  std::size_t workspace_bytes_ = 0;
  std::optional<gpu::DeviceBuffer> workspace_;
};

void measure(const Run& run, const InputSets& sets, const Sample& sample, const CompiledSpec& compiled,
             CandidateResult& result) {
  const CandidateCalls calls(run.gpu, sets, compiled);
  sets.forward(0).poison();
  calls.run(0);
  run.gpu.synchronize();
  sample.compare_tokens(result.errors);
  const Enqueue rotating = [&](CUstream stream, int i) { calls.run(i % sets.count(), stream); };
  result.graph = time_graph(run.gpu, rotating, sets.count(), run.seconds);
  // Also what launches behind one another have left.
  sample.compare_tokens(result.errors);
}

}  // namespace

bool depends_on_candidates(const codegen::Problem& problem, std::int64_t tokens) {
  return tokens > value_or_throw(codegen::choose_spec(problem)).few_max_tokens;
}

std::vector<codegen::KernelSpec> legal_candidates(const codegen::Problem& problem) {
  std::vector<codegen::KernelSpec> specs;
  for (const auto kernel_template :
       {codegen::KernelTemplate::one_pass, codegen::KernelTemplate::two_pass, codegen::KernelTemplate::portable})
    for (const codegen::Candidate& candidate : codegen::candidates(problem, kernel_template))
      if (candidate.legal()) specs.push_back(candidate.spec);
  return specs;
}

CandidateResults bench_candidates(const Run& run, const codegen::Problem& problem, std::int64_t tokens,
                                  const std::vector<CompiledSpec>& compiled,
                                  const std::function<void(const codegen::KernelSpec&)>& announce) {
  const InputSets sets(run.gpu, run.engine, problem, tokens);
  const Sample sample(sets, InputSets::x_std);
  const codegen::KernelSpec chosen = chosen_spec(problem);
  CandidateResults results;
  results.floor_us = static_cast<double>(floor_bytes(problem, tokens)) / run.copy_gigabytes_per_second * 1e-3;
  for (const CompiledSpec& each : compiled) {
    CandidateResult& result = results.candidates.emplace_back();
    result.spec = each.spec;
    for (const cache::CompiledKernel& kernel : each.kernels) result.kernels.push_back(kernel.resources);
    result.estimated_cost = codegen::estimated_cost(each.spec);
    result.is_chosen = each.spec == chosen;
    result.failure = each.failure;
    if (!each.failure.empty()) continue;
    announce(each.spec);
    try {
      measure(run, sets, sample, each, result);
    } catch (const std::runtime_error& failure) {
      result.failure = failure.what();
    }
  }
  return results;
}

}  // namespace mhcjit::bench
