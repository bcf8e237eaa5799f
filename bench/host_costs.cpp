#include "bench/host_costs.h"

#include <deque>

#include "bench/choice.h"
#include "bench/compiled_plan.h"
#include "bench/input_sets.h"
#include "bench/statistics.h"
#include "bench/value_or_throw.h"
#include "codegen/operator.h"
#include "runtime/launch_config.h"
#include "runtime/stopwatch.h"
#include "runtime/tensor_map.h"

namespace mhcjit::bench {
namespace {

// So few that the device's queue never fills and makes the host wait.
constexpr int calls_per_batch = 100;
constexpr int batches = 100;
// Nothing unloads them.
constexpr int loads = 20;

// Median over batches of one call's time on the host. The device catches up between batches, untimed.
template <typename Body>
double host_us(const gpu::Gpu& gpu, const Body& body) {
  std::vector<double> samples(batches);
  for (double& sample : samples) {
    gpu.synchronize();
    const runtime::Stopwatch watch;
    for (int call = 0; call < calls_per_batch; ++call) body();
    sample = static_cast<double>(watch.nanoseconds()) * 1e-3 / calls_per_batch;
  }
  gpu.synchronize();
  return quantile(std::move(samples), 0.5);
}

// The launches of one call, with all that can be made beforehand made.
class RawLaunches {
 public:
  RawLaunches(const LoadedPlan& loaded, const gpu::Call& call, std::int64_t T) : driver_(loaded.driver) {
    const codegen::Plan& plan = *loaded.bucket.plan;
    const runtime::ArgumentTable table(plan.problem());
    table.fill_kernel_arguments(call.arguments(), args_);
    plan.fill_work(T, call.buffer("workspace").as(), work_);
    for (std::size_t i = 0; i < plan.kernels().size(); ++i) {
      const codegen::Kernel& kernel = plan.kernels()[i];
      std::vector<void*>& parameters = parameters_.emplace_back();
      parameters.push_back(args_);
      if (kernel.work_bytes != 0) parameters.push_back(work_);
      for (const codegen::TensorMap& map : kernel.maps) {
        throw_if(runtime::fill_tensor_map(driver_, plan.problem(), map, call.buffer(map.tensor).as(), T,
                                          maps_.emplace_back()));
        parameters.push_back(&maps_.back());
      }
      codegen::Grid grid = plan.grid(i, T, loaded.device.planned);
      const runtime::LoadedKernel& one = loaded.bucket.kernels[i];
      if (one.max_blocks != 0) grid.x = std::min(grid.x, one.max_blocks);
      configs_.emplace_back(kernel, grid, nullptr, kernel.overlaps_previous);
      kernels_.push_back(one.handle);
    }
  }

  int kernels() const { return static_cast<int>(kernels_.size()); }

  void run() {
    for (std::size_t i = 0; i < kernels_.size(); ++i)
      throw_if(driver_.check(driver_.cuLaunchKernelEx(configs_[i].get(), reinterpret_cast<CUfunction>(kernels_[i]),
                                                      parameters_[i].data(), nullptr),
                             MHCJIT_ERROR_LAUNCH_FAILED, "launching kernel {} bare", i));
  }

 private:
  const runtime::DriverApi& driver_;
  alignas(16) std::byte args_[codegen::max_kernel_argument_bytes];
  alignas(16) std::byte work_[codegen::max_work_bytes];
  std::deque<CUtensorMap> maps_;
  std::deque<runtime::LaunchConfig> configs_;
  std::vector<std::vector<void*>> parameters_;
  std::vector<CUkernel> kernels_;
};

}  // namespace

HostCosts bench_host_costs(const gpu::Gpu& gpu, mhcjit_engine* engine, codegen::Problem problem) {
  problem.architecture = value_or_throw(codegen::parse_architecture(gpu.architecture));
  gpu::Case item = {{{1, problem.n, problem.d, problem.has_gamma}, static_cast<mhcjit_dtype>(problem.dtype), 51}};
  const mhcjit_problem asked = gpu::problem_of(item, problem.op->id);
  const std::unique_ptr<const gpu::Call> call =
      make_call(*problem.op, gpu, item, gpu::prepare(engine, asked), oracle::random_inputs(item.random));

  const std::vector<codegen::Bucket> buckets = value_or_throw(chosen_buckets(problem));
  const codegen::PlanPtr plan = codegen::bucket_of(buckets, item.shape().T).plan;
  const CompiledPlan compiled = value_or_throw(compile_plan(plan));
  std::vector<double> load_us(loads);
  for (double& sample : load_us) {
    const runtime::Stopwatch watch;
    value_or_throw(load_plan(compiled));
    sample = static_cast<double>(watch.nanoseconds()) * 1e-3;
  }
  RawLaunches raw(value_or_throw(load_plan(compiled)), *call, item.shape().T);

  HostCosts costs;
  costs.kernels = raw.kernels();
  for (const cache::CompiledKernel& kernel : compiled.kernels) costs.cubin_bytes += kernel.cubin.size();
  costs.call_us = host_us(gpu, [&] { gpu::require(call->run(), problem.op->name); });
  costs.raw_launch_us = host_us(gpu, [&] { raw.run(); });
  costs.prepare_us = host_us(gpu, [&] { gpu::prepare(engine, asked); });
  costs.load_us = quantile(std::move(load_us), 0.5);
  return costs;
}

}  // namespace mhcjit::bench
