#include "runtime/module.h"

#include <llvm/ADT/STLExtras.h>

#include "runtime/launch_config.h"

namespace mhcjit::runtime {
namespace {

// Every device with clusters runs these; larger ones a kernel must be allowed to have.
constexpr int largest_portable_cluster = 8;

// While it lives, what this thread does with the driver is not held against captures in progress elsewhere.
class RelaxedCapture {
 public:
  explicit RelaxedCapture(const DriverApi& driver) : driver_(driver) {
    driver_.cuThreadExchangeStreamCaptureMode(&mode_);
  }
  ~RelaxedCapture() { driver_.cuThreadExchangeStreamCaptureMode(&mode_); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  const DriverApi& driver_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

llvm::Expected<LoadedKernel> load_kernel(const DriverApi& driver, CUdevice device, const cache::Bytes& cubin,
                                         const codegen::StagePlan& plan) {
  const auto check = [&](CUresult result, std::string_view step) {
    return driver.check(result, MHCJIT_ERROR_LOAD_FAILED, "{} kernel {}", step, plan.entry());
  };
  LoadedKernel loaded = {.stage = plan.stage,
                         .kernel = nullptr,
                         .dynamic_smem_bytes = static_cast<std::uint32_t>(plan.dynamic_smem_bytes),
                         .threads_per_block = static_cast<std::uint32_t>(plan.threads_per_block),
                         .max_blocks = 0,
                         .box = plan.box,
                         .overlaps_previous = plan.overlaps_previous,
                         .min_tokens = plan.min_tokens,
                         .max_tokens = plan.max_tokens};
  CUlibrary library = nullptr;
  if (auto error = check(driver.cuLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
                         fmt::format("loading a cubin of {} bytes for", cubin.size())))
    return error;
  if (auto error = check(driver.cuLibraryGetKernel(&loaded.kernel, library, plan.entry().c_str()), "finding"))
    return error;
  if (plan.dynamic_smem_bytes > 0) {
    if (auto error = check(driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                       plan.dynamic_smem_bytes, loaded.kernel, device),
                           fmt::format("reserving {} bytes of shared memory for", plan.dynamic_smem_bytes)))
      return error;
  }
  if (plan.cluster_size > largest_portable_cluster) {
    if (auto error = check(
            driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1, loaded.kernel, device),
            fmt::format("allowing clusters of {} blocks for", plan.cluster_size)))
      return error;
  }
  // The driver loads a kernel into a context when it is first asked for there.
  CUfunction function = nullptr;
  if (auto error = check(driver.cuKernelGetFunction(&function, loaded.kernel), "loading")) return error;
  if (plan.cluster_size == 0) return loaded;

  const auto cluster_size = static_cast<std::uint32_t>(plan.cluster_size);
  LaunchConfig launch(loaded, {.x = cluster_size, .cluster_size = cluster_size}, nullptr, false);
  int clusters = 0;
  const CUresult asked = driver.cuOccupancyMaxActiveClusters(&clusters, function, launch.get());
  // Another way to say: none.
  if (asked != CUDA_ERROR_INVALID_CLUSTER_SIZE) {
    if (auto error = check(asked, "asking how many clusters the device runs at once of")) return error;
  }
  loaded.is_runnable = clusters > 0;
  if (plan.is_persistent) loaded.max_blocks = static_cast<std::uint32_t>(clusters * plan.cluster_size);
  return loaded;
}

}  // namespace

llvm::Expected<std::vector<LoadedKernel>> load_kernels(const DriverApi& driver, CUdevice device,
                                                       llvm::ArrayRef<cache::CompiledKernel> kernels,
                                                       const std::vector<codegen::StagePlan>& plans) {
  const RelaxedCapture relaxed(driver);
  std::vector<LoadedKernel> loaded;
  for (const auto& [kernel, plan] : llvm::zip_equal(kernels, plans)) {
    auto one = load_kernel(driver, device, kernel.cubin, plan);
    if (!one) return one.takeError();
    loaded.push_back(*one);
  }
  return loaded;
}

llvm::Error check_runnable(const std::vector<LoadedKernel>& kernels, const std::vector<codegen::StagePlan>& plans) {
  for (const auto& [kernel, plan] : llvm::zip_equal(kernels, plans))
    if (!kernel.is_runnable)
      return make_error(MHCJIT_ERROR_LOAD_FAILED,
                        "kernel {}: the device cannot run a cluster of {} blocks of {} threads with {} bytes of shared "
                        "memory; use the whole device, or the portable template",
                        plan.entry(), plan.cluster_size, plan.threads_per_block, plan.dynamic_smem_bytes);
  return llvm::Error::success();
}

}  // namespace mhcjit::runtime
