#include "tuning/device_timer.h"

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <llvm/ADT/SmallVector.h>

#include "bench/accuracy.h"
#include "bench/plan_calls.h"
#include "bench/timing.h"
#include "bench/value_or_throw.h"
#include "runtime/builder.h"
#include "runtime/compiler.h"
#include "tuning/sm_clock.h"

namespace mhcjit::tuning {
namespace {

using bench::value_or_throw;

// A trial measures for about this long, which tells plans apart in a few rounds.
constexpr double seconds_of_trial = 0.015;
// The rest before each trial keeps the device below its power limit, at which plans rank differently.
constexpr auto rest = std::chrono::milliseconds(8);
constexpr double seconds_of_copy = 0.1;
// The second input has x of this standard deviation, in the sampled tokens.
constexpr double second_std = 20.0;
// One set of tensors has the second input; the first_set has the first.
constexpr int second_set = 0;
constexpr int first_set = 1;

// Makes the device the only one that CUDA shows to this process.
void show_only(int device) {
  const char* const shown = std::getenv("CUDA_VISIBLE_DEVICES");
  std::string only = std::to_string(device);
  if (shown != nullptr) {
    llvm::SmallVector<llvm::StringRef> names;
    llvm::StringRef(shown).split(names, ',');
    const auto place = static_cast<std::size_t>(device);
    if (place >= names.size() || names[place].empty())
      throw std::runtime_error(fmt::format("CUDA_VISIBLE_DEVICES is '{}', which has no device {}", shown, device));
    only = names[place].str();
  }
  ::setenv("CUDA_VISIBLE_DEVICES", only.c_str(), 1);
}

struct DestroyEngine {
  void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
};

class DeviceTimer final : public Timer {
 public:
  DeviceTimer(const runtime::Settings& settings, int device) : builder_(settings) {
    show_only(device);
    gpu_ = gpu::find_gpu();
    if (gpu_ == nullptr) throw std::runtime_error(gpu::missing_gpu());
    CUuuid uuid = {};
    gpu_->driver.check(gpu_->driver.cuDeviceGetUuid(&uuid, gpu_->device), "cuDeviceGetUuid");
    clock_.emplace(uuid.bytes);
    mhcjit_engine_options options = {};
    options.cache_dir = settings.cache_root.c_str();
    mhcjit_engine* engine = nullptr;
    gpu::require(mhcjit_engine_create(&options, &engine), "mhcjit_engine_create");
    engine_.reset(engine);
  }

  Machine machine() override {
    int multiprocessors = 0;
    gpu_->driver.check(
        gpu_->driver.cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, gpu_->device),
        "cuDeviceGetAttribute");
    return {gpu_->name, value_or_throw(codegen::parse_architecture(gpu_->architecture)), multiprocessors,
            gpu_->driver_version, bench::copy_gigabytes_per_second(*gpu_, seconds_of_copy)};
  }

  void begin(const Row& row) override {
    calls_.clear();
    timed_.clear();
    first_.reset();
    second_.reset();
    sets_.reset();
    sets_ = bench::make_input_sets(*gpu_, engine_.get(), row.shape.problem, row.shape.tokens);
    // The second input takes one set beside those that launches rotate among.
    sets_->add_set();
    first_.emplace(*sets_, bench::InputSets::x_std);
    sets_->run_sample(bench::sampled_tokens(row.shape.tokens), second_std);
    second_.emplace(*sets_, second_std);
    gpu_->synchronize();
  }

  void check(const codegen::PlanPtr& plan) override {
    const bench::PlanCalls& calls = load(plan);
    for (const int set : {first_set, second_set}) {
      sets_->call(set).poison();
      calls.run(set);
    }
    gpu_->synchronize();
    bench::Errors errors;
    first_->compare_tokens(errors, first_set);
    second_->compare_tokens(errors, second_set);
    second_->compare_sums(errors);
    throw_unless_right(errors);
    for (const int set : {first_set, second_set})
      if (const std::string tensor = sets_->call(set).damaged(); !tensor.empty())
        throw WrongResult(fmt::format("something was written outside {}", tensor));
  }

  Timing time(const codegen::PlanPtr& plan) override {
    const bool is_first = timed_.insert(plan).second;
    // Where a plan's code and workspace lie changes the time of a short call. Each trial has them elsewhere, so that
    // the plan's time is a median over places and its spread says what places do.
    const bench::PlanCalls& calls = is_first ? load(plan) : load_elsewhere(plan);
    std::this_thread::sleep_for(rest);
    const int period = sets_->count() - first_set;
    const bench::Enqueue rotating = [&](CUstream stream, int i) { calls.run(first_set + i % period, stream); };
    const bench::Timing timing = bench::time_graph(*gpu_, rotating, period, seconds_of_trial);
    // The outputs of back-to-back launches are compared too, once.
    if (is_first) {
      bench::Errors errors;
      first_->compare_tokens(errors, first_set);
      throw_unless_right(errors);
    }
    return {timing.median_us, (timing.p90_us - timing.p10_us) / 2, timing.samples, clock_->mhz()};
  }

 private:
  const bench::PlanCalls& load(const codegen::PlanPtr& plan) {
    const auto found = calls_.find(plan);
    return found != calls_.end() ? *found->second : load_elsewhere(plan);
  }

  // The code of the plan's earlier trials stays loaded until the process ends: some hundred kilobytes a trial.
  const bench::PlanCalls& load_elsewhere(const codegen::PlanPtr& plan) {
    const runtime::Builder::Built built = value_or_throw(builder_.build({plan->problem(), codegen::to_string(*plan)}));
    bench::CompiledPlan compiled = {plan, {}};
    for (const std::size_t place : built.compiled->bucket_kernels.front())
      compiled.kernels.push_back(built.compiled->built[place]->compiled);
    auto loaded = bench::load_plan(compiled);
    if (!loaded) throw CannotRun(take_failure(loaded.takeError()).text);
    return *(calls_[plan] = std::make_unique<bench::PlanCalls>(*gpu_, *sets_, std::move(*loaded)));
  }

  static void throw_unless_right(const bench::Errors& errors) {
    for (const auto& [tensor, worst] : errors)
      if (!worst.ok()) throw WrongResult(fmt::format("{}: {}", tensor, oracle::to_string(worst)));
  }

  runtime::Builder builder_;
  const gpu::Gpu* gpu_ = nullptr;
  std::optional<SmClock> clock_;
  std::unique_ptr<mhcjit_engine, DestroyEngine> engine_;
  std::unique_ptr<bench::InputSets> sets_;
  std::optional<bench::Sample> first_, second_;
  std::map<codegen::PlanPtr, std::unique_ptr<const bench::PlanCalls>> calls_;
  std::set<codegen::PlanPtr> timed_;
};

Compiled compile(runtime::Builder& builder, const codegen::PlanPtr& plan) {
  auto built = builder.build({plan->problem(), codegen::to_string(*plan)});
  if (!built) return {take_failure(built.takeError())};
  Compiled compiled;
  for (const runtime::BuiltKernelPtr& kernel : built->compiled->built) {
    const cache::KernelResources& resources = kernel->compiled.resources;
    compiled.spill_bytes += resources.spill_store_bytes + resources.spill_load_bytes;
  }
  return compiled;
}

Compiler compiler_of(const runtime::Settings& settings) {
  const auto builder = std::make_shared<runtime::Builder>(settings);
  return {[builder](const codegen::PlanPtr& plan) { return compile(*builder, plan); },
          [builder](const codegen::Problem& problem) {
            // The process that makes the inputs reports such a failure.
            for (const codegen::Problem& needed : bench::needed_problems(problem))
              if (auto built = builder->build({needed}); !built) llvm::consumeError(built.takeError());
          }};
}

llvm::Expected<std::string> version_of_compiler(const runtime::Settings& settings,
                                                const codegen::Architecture& architecture) {
  runtime::Compiler compiler(
      {settings.nvrtc_path, settings.driver_path, settings.cache_root, settings.read_only_roots});
  auto identities = compiler.identities(architecture);
  if (!identities) return identities.takeError();
  return fmt::format("{}.{}", identities->front().major, identities->front().minor);
}

}  // namespace

llvm::Expected<Kit> device_kit(const std::string& cache_dir) {
  mhcjit_engine_options options = {};
  options.cache_dir = cache_dir.c_str();
  auto settings = runtime::settings_from(options);
  if (!settings) return settings.takeError();
  // The environment's choice of a plan is for the programs that use plans.
  settings->plan.clear();
  return Kit{[settings = *settings](int device) { return std::make_unique<DeviceTimer>(settings, device); },
             [settings = *settings] { return compiler_of(settings); },
             [settings = *settings](const codegen::Architecture& architecture) {
               return version_of_compiler(settings, architecture);
             }};
}

}  // namespace mhcjit::tuning
