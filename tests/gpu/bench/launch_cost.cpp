#include "bench/launch_cost.h"

#include <chrono>
#include <memory>
#include <stdexcept>

#include "bench/timing.h"
#include "calls.h"
#include "codegen/emit.h"
#include "codegen/heuristic.h"
#include "kernel_program.h"
#include "runtime/kernel_arguments.h"
#include "support/error.h"

namespace mhcjit::gpu {
namespace {

// So few that the device's queue never fills and makes the host wait.
constexpr int calls_per_batch = 100;
constexpr int batches = 100;

// Median over batches of one call's time on the host. The device catches up between batches, untimed.
template <typename Body>
double host_nanoseconds(const Gpu& gpu, const Body& body) {
  std::vector<double> samples;
  for (int batch = 0; batch < batches; ++batch) {
    gpu.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int call = 0; call < calls_per_batch; ++call) body();
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - begin;
    samples.push_back(taken.count() / calls_per_batch);
  }
  gpu.synchronize();
  return quantile(samples, 0.5);
}

// The launches made here are those of the portable template, whatever the environment asks for.
class PortableEngine {
 public:
  PortableEngine() {
    mhcjit_engine_options options = {};
    options.cache_dir = "";
    options.kernel_template = "portable";
    mhcjit_engine* made = nullptr;
    require(mhcjit_engine_create(&options, &made), "mhcjit_engine_create");
    engine_.reset(made);
  }
  const mhcjit_operator* prepare(const mhcjit_problem& problem) const {
    const mhcjit_operator* op = nullptr;
    require(mhcjit_prepare(engine_.get(), &problem, MHCJIT_DEVICE_GPU, nullptr, &op), "mhcjit_prepare");
    return op;
  }

 private:
  std::unique_ptr<mhcjit_engine, decltype(&mhcjit_engine_destroy)> engine_{nullptr, mhcjit_engine_destroy};
};

codegen::KernelSpec spec_of(const Gpu& gpu, const mhcjit_problem& problem) {
  auto architecture = codegen::parse_architecture(gpu.architecture);
  if (!architecture) throw std::runtime_error(take_failure(architecture.takeError()).text);
  auto asked = codegen::from_public(problem, *architecture);
  if (!asked) throw std::runtime_error(take_failure(asked.takeError()).text);
  auto spec = codegen::choose_spec(*asked, codegen::KernelTemplate::portable);
  if (!spec) throw std::runtime_error(take_failure(spec.takeError()).text);
  return *spec;
}

}  // namespace

LaunchCost bench_launch_cost(const Gpu& gpu) {
  const Case item = {{{1, 4, 1280, false}, MHCJIT_BF16, 51}};
  const mhcjit_problem problem = problem_of(item, MHCJIT_PRE_FORWARD);
  const PortableEngine engine;
  const ForwardCall call(gpu, item, engine.prepare(problem), oracle::random_inputs(item.random));

  const codegen::KernelSpec spec = spec_of(gpu, problem);
  const KernelProgram program(gpu, codegen::emit_unit(spec));
  PreForwardArgs args = runtime::kernel_arguments(spec, call.args);
  void* parameters[] = {&args};
  struct Raw {
    CUlaunchConfig config = {};
    CUkernel kernel = nullptr;
  };
  std::vector<Raw> launches;
  for (const codegen::StagePlan& stage : codegen::stages(spec)) {
    const codegen::Grid grid = codegen::grid_of(spec, stage.stage, item.shape().T);
    Raw raw;
    raw.config.gridDimX = grid.x;
    raw.config.gridDimY = grid.y;
    raw.config.gridDimZ = 1;
    raw.config.blockDimX = static_cast<unsigned>(spec.threads_per_block);
    raw.config.blockDimY = 1;
    raw.config.blockDimZ = 1;
    raw.config.sharedMemBytes = static_cast<unsigned>(stage.dynamic_smem_bytes);
    raw.kernel = program.kernel(stage.entry().c_str());
    gpu.driver.check(gpu.driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                     stage.dynamic_smem_bytes, raw.kernel, gpu.device),
                     "cuKernelSetAttribute");
    launches.push_back(raw);
  }

  LaunchCost cost;
  cost.kernels = static_cast<int>(launches.size());
  cost.nvrtc_version = program.nvrtc_version();
  cost.nvrtc_path = program.nvrtc_path();
  cost.call_ns = host_nanoseconds(gpu, [&] { require(call.run(), "mhcjit_pre_forward"); });
  cost.raw_ns = host_nanoseconds(gpu, [&] {
    for (const Raw& raw : launches)
      gpu.driver.check(
          gpu.driver.cuLaunchKernelEx(&raw.config, reinterpret_cast<CUfunction>(raw.kernel), parameters, nullptr),
          "cuLaunchKernelEx");
  });
  cost.prepare_ns = host_nanoseconds(gpu, [&] { engine.prepare(problem); });
  return cost;
}

}  // namespace mhcjit::gpu
