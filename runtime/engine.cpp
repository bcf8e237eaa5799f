#include "runtime/engine.h"

#include <llvm/ADT/STLExtras.h>

#include "runtime/cpu_operator.h"
#include "runtime/gpu_operator.h"
#include "runtime/module.h"
#include "runtime/profiler_range.h"
#include "runtime/stopwatch.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::runtime {
namespace {

// Asking does not disturb a capture; preparing would.
llvm::Error check_not_capturing(const DriverApi& driver, CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  const CUresult result = driver.cuStreamIsCapturing(stream, &status);
  const bool capturing = result == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT || status != CU_STREAM_CAPTURE_STATUS_NONE;
  if (!capturing)
    return driver.check(result, MHCJIT_ERROR_INVALID_ARGUMENT, "asking whether stream {} is being captured",
                        fmt::ptr(stream));
  return make_error(MHCJIT_ERROR_NOT_PREPARED,
                    "the operator is not prepared, and {} is being captured, during which nothing can be compiled or "
                    "loaded; call mhcjit_prepare before the capture begins",
                    stream == nullptr ? std::string("a stream that the default stream waits for")
                                      : fmt::format("stream {}", fmt::ptr(stream)));
}

}  // namespace

Engine::Engine(const Settings& settings) : settings_(settings), builder_(settings) {}

llvm::Expected<const Operator*> Engine::prepare(const mhcjit_problem& problem, mhcjit_device device, void* stream) {
  switch (device) {
    case MHCJIT_DEVICE_CPU: return prepare_on_cpu(problem);
    case MHCJIT_DEVICE_GPU: return prepare_on_gpu(problem, static_cast<CUstream>(stream));
  }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "device is {}, allowed: 0 (MHCJIT_DEVICE_CPU) and 1 "
                    "(MHCJIT_DEVICE_GPU)",
                    static_cast<int>(device));
}

llvm::Expected<const Operator*> Engine::prepare_on_cpu(const mhcjit_problem& problem) {
  const OperatorKey key = key_of(problem, cpu_device);
  if (const Operator* ready = find_ready(key)) return ready;
  auto made = operators_.get_or_create(key, [&]() -> llvm::Expected<OperatorPtr> {
    auto checked = codegen::from_public(problem, {});
    if (!checked) return checked.takeError();
    return CpuOperator::make(*checked, settings_.cpu_threads);
  });
  if (!made) return made.takeError();
  return made->get();
}

llvm::Expected<const Operator*> Engine::prepare_on_gpu(const mhcjit_problem& problem, CUstream stream) {
  auto driver = this->driver();
  if (!driver) return driver.takeError();
  auto ordinal = current_device(**driver);
  if (!ordinal) return ordinal.takeError();
  const OperatorKey key = key_of(problem, *ordinal);
  if (const Operator* ready = find_ready(key)) return ready;
  // Outside of the flight: that this thread is in a capture is no reason for others to fail.
  if (auto error = check_not_capturing(**driver, stream)) return error;
  auto made = operators_.get_or_create(key, [&] { return load(**driver, problem, *ordinal); });
  if (!made) return made.takeError();
  return made->get();
}

const Operator* Engine::find_ready(const OperatorKey& key) {
  const OperatorPtr* ready = operators_.find(key);
  if (ready == nullptr) return nullptr;
  ++memory_hits_;
  trace(settings_.log, {.event = "hit", .problem = (*ready)->name(), .tier = "memory"});
  return ready->get();
}

llvm::Expected<Engine::OperatorPtr> Engine::load(const DriverApi& driver, const mhcjit_problem& asked,
                                                 CUdevice ordinal) {
  auto device = inspect_device(driver, ordinal);
  if (!device) return device.takeError();
  auto problem = codegen::from_public(asked, device->architecture);
  if (!problem) return problem.takeError();
  const OperatorKey key = key_of(asked, ordinal);
  const FallBack fallen = fallen_back(key);
  const BuildRequest request = {
      *problem, fallen == FallBack::without_clusters ? std::string(codegen::without_clusters) : settings_.plan,
      /*tuned=*/fallen == FallBack::none};
  builder_.tuned().check_device(*device);
  auto built = builder_.build(request);
  if (!built) return built.takeError();
  const CompiledOperator& compiled = *built->compiled;
  const Stopwatch watch;
  auto kernels = load_kernels(driver, ordinal, request, compiled);
  if (!kernels) {
    const Failure failure = take_failure(kernels.takeError());
    const bool is_measured = compiled.buckets.front().origin.source != codegen::Source::estimate;
    if (failure.status != MHCJIT_ERROR_LOAD_FAILED || !is_measured) return make_error(failure.status, failure.text);
    builder_.tuned().warn_of_refused(to_string(*problem), failure.text);
    fall_back(key, FallBack::estimate);
    return load(driver, asked, ordinal);
  }
  load_nanoseconds_ += watch.nanoseconds();
  for (const LoadedKernel& kernel : *kernels) {
    auto error = check_runnable(kernel);
    if (!error) continue;
    const Failure failure = take_failure(std::move(error));
    const bool is_hosts_choice =
        !request.plan.empty() && codegen::is_wanted(*compiled.buckets.front().plan, request.plan);
    if (fallen == FallBack::without_clusters || is_hosts_choice)
      return make_error(failure.status, "{}: {}", to_string(*problem), failure.text);
    fall_back(key, FallBack::without_clusters);
    settings_.log(MHCJIT_LOG_WARNING, fmt::format("{}: plans without clusters serve it on device {}, slower: {}",
                                                  to_string(*problem), ordinal, failure.text));
    return load(driver, asked, ordinal);
  }
  if (settings_.log.wants(MHCJIT_LOG_TRACE))
    trace(settings_.log, {"load", to_string(*problem), compiled.digest(), "-", watch.milliseconds()});
  if (settings_.log.wants(MHCJIT_LOG_INFO))
    settings_.log(MHCJIT_LOG_INFO, fmt::format("loaded {} on device {} in {:.0f} us", to_string(*problem), ordinal,
                                               watch.milliseconds() * 1e3));
  std::vector<LoadedBucket> buckets;
  for (const auto& [bucket, places] : llvm::zip_equal(compiled.buckets, compiled.bucket_kernels)) {
    LoadedBucket& loaded = buckets.emplace_back(LoadedBucket{bucket.max_tokens, bucket.plan, {}, bucket.origin});
    for (const std::size_t place : places) loaded.kernels.push_back((*kernels)[place]);
  }
  return std::make_shared<GpuOperator>(driver, *device, *problem, std::move(buckets));
}

Engine::FallBack Engine::fallen_back(const OperatorKey& key) const {
  const std::lock_guard lock(fallbacks_mutex_);
  const auto found = fallbacks_.find(key);
  return found == fallbacks_.end() ? FallBack::none : found->second;
}

void Engine::fall_back(const OperatorKey& key, FallBack to) {
  const std::lock_guard lock(fallbacks_mutex_);
  fallbacks_[key] = to;
}

llvm::Expected<std::vector<LoadedKernel>> Engine::load_kernels(const DriverApi& driver, CUdevice ordinal,
                                                               const BuildRequest& request,
                                                               const CompiledOperator& compiled) {
  const ProfilerRange range("load", to_string(request.problem));
  std::vector<LoadedKernel> kernels;
  for (const auto& [kernel, built] : llvm::zip_equal(compiled.kernels, compiled.built)) {
    auto loaded = load_one(driver, ordinal, request, kernel, built);
    if (!loaded) return loaded.takeError();
    kernels.push_back(std::move(*loaded));
  }
  return kernels;
}

llvm::Expected<LoadedKernel> Engine::load_one(const DriverApi& driver, CUdevice ordinal, const BuildRequest& request,
                                              const codegen::Kernel& kernel, BuiltKernelPtr built) {
  const std::string problem = to_string(request.problem);
  std::set<std::string> refused;  // digests
  // Comes to an end: what was refused is not found again.
  for (;;) {
    auto loaded = load_kernel(driver, ordinal, *request.problem.op, kernel, built->compiled);
    if (loaded) return loaded;
    const Failure failure = take_failure(loaded.takeError());
    if (failure.status != MHCJIT_ERROR_LOAD_FAILED) return make_error(failure.status, "{}: {}", problem, failure.text);
    if (!built->from_disk)
      return make_error(
          MHCJIT_ERROR_LOAD_FAILED,
          "{}: the CUDA driver {} refused the kernel that NVRTC {}.{} has just compiled: {}; where the driver "
          "is older than NVRTC, update it, or set MHCJIT_NVRTC to an NVRTC no newer than the driver",
          problem, driver.version(), built->compiler.major, built->compiler.minor, failure.text);
    settings_.log(
        MHCJIT_LOG_WARNING,
        fmt::format("{}: the driver refused the cached kernel, in whose place another compiler's is used{}: {}",
                    problem, settings_.no_compile ? "" : " or one is compiled anew", failure.text));
    refused.insert(built->digest);
    auto anew = builder_.build_anew(request, kernel, refused);
    if (!anew && settings_.no_compile) {
      llvm::consumeError(anew.takeError());
      return make_error(MHCJIT_ERROR_LOAD_FAILED,
                        "{}: the CUDA driver {} refused the cached kernel, digest {}: {}; let it be compiled anew, "
                        "once, without no_compile and MHCJIT_NO_COMPILE",
                        problem, driver.version(), built->digest, failure.text);
    }
    if (!anew) return anew.takeError();
    built = std::move(*anew);
  }
}

llvm::Expected<const DriverApi*> Engine::driver() {
  if (const DriverApi* driver = driver_.load(std::memory_order_acquire)) {
    if (auto error = driver->check_not_forked()) return error;
    return driver;
  }
  auto driver = DriverApi::load(settings_.driver_path);
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  driver_.store(*driver, std::memory_order_release);
  return *driver;
}

Engine::OperatorKey Engine::key_of(const mhcjit_problem& problem, std::int32_t device) {
  return {static_cast<std::int32_t>(problem.op),
          problem.n,
          problem.d,
          static_cast<std::int32_t>(problem.dtype),
          problem.has_gamma,
          problem.batch_invariant,
          problem.fp32_dx,
          device};
}

mhcjit_counters Engine::counters() const {
  const cache::TierCounters cache = builder_.cache_counters();
  const std::lock_guard lock(fallbacks_mutex_);
  return {
      .memory_hits = memory_hits_,
      .disk_hits = cache.writable.hits + cache.read_only_hits,
      .misses = builder_.compiles(),
      .corrupt_entries = cache.corrupt_entries,
      .publish_failures = cache.writable.publish_failures + builder_.withheld(),
      .compile_ms = builder_.compile_milliseconds(),
      .load_us = static_cast<double>(load_nanoseconds_) * 1e-3,
      .read_only_hits = cache.read_only_hits,
      .promotions = cache.promotions,
      .lock_timeouts = cache.lock_timeouts,
      .remote_hits = cache.remote.hits,
      .remote_failures = cache.remote.failures,
      .remote_uploads = cache.remote.uploads,
      .fallbacks = static_cast<std::uint64_t>(
          llvm::count_if(fallbacks_, [](const auto& fallen) { return fallen.second == FallBack::without_clusters; })),
  };
}

}  // namespace mhcjit::runtime
