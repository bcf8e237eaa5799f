#include "runtime/module.h"

#include "runtime/launch_config.h"
#include "support/error.h"

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

}  // namespace

llvm::Expected<LoadedKernel> load_kernel(const DriverApi& driver, CUdevice device, const codegen::Operator& op,
                                         const codegen::Kernel& kernel, const cache::CompiledKernel& compiled) {
  const RelaxedCapture relaxed(driver);
  const auto check = [&](CUresult result, std::string_view step) {
    return driver.check(result, MHCJIT_ERROR_LOAD_FAILED, "{} kernel {}", step, kernel.entry());
  };
  const auto place = [&](std::string_view tensor) {
    return static_cast<std::size_t>(op.find_tensor(tensor) - op.tensors.data());
  };
  LoadedKernel loaded = {.kernel = kernel};
  if (!kernel.makes.empty()) loaded.makes = 0;
  for (const std::string_view output : kernel.makes) loaded.makes |= std::uint32_t{1} << place(output);
  for (const codegen::TensorMap& map : kernel.maps) loaded.map_tensors.push_back(place(map.tensor));
  CUlibrary library = nullptr;
  const cache::Bytes& cubin = compiled.cubin;
  if (auto error = check(driver.cuLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
                         fmt::format("loading a cubin of {} bytes for", cubin.size())))
    return error;
  if (auto error = check(driver.cuLibraryGetKernel(&loaded.handle, library, kernel.entry().c_str()), "finding"))
    return error;
  if (kernel.dynamic_smem_bytes > 0) {
    if (auto error = check(driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                       kernel.dynamic_smem_bytes, loaded.handle, device),
                           fmt::format("reserving {} bytes of shared memory for", kernel.dynamic_smem_bytes)))
      return error;
  }
  // A multiprocessor shares out its memory between the L1 cache and blocks anew only when it runs none.
  if (kernel.leaves_shared_memory) {
    if (auto error = check(driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                                                       CU_SHAREDMEM_CARVEOUT_MAX_SHARED, loaded.handle, device),
                           "preferring shared memory to the L1 cache for"))
      return error;
  }
  if (kernel.max_cluster_size > largest_portable_cluster) {
    if (auto error = check(
            driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1, loaded.handle, device),
            fmt::format("allowing clusters of {} blocks for", kernel.max_cluster_size)))
      return error;
  }
  // The driver loads a kernel into a context when it is first asked for there.
  CUfunction function = nullptr;
  if (auto error = check(driver.cuKernelGetFunction(&function, loaded.handle), "loading")) return error;
  if (kernel.is_cooperative) {
    int multiprocessors = 0;
    if (auto error =
            check(driver.cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device),
                  "asking how many multiprocessors run the blocks of"))
      return error;
    loaded.is_runnable = multiprocessors >= kernel.min_blocks;
  }
  if (kernel.max_cluster_size == 0) return loaded;

  const auto cluster_size = static_cast<std::uint32_t>(kernel.max_cluster_size);
  LaunchConfig launch(kernel, {.x = cluster_size, .cluster_size = cluster_size}, nullptr, false);
  int clusters = 0;
  const CUresult asked = driver.cuOccupancyMaxActiveClusters(&clusters, function, launch.get());
  // Another way to say: none.
  if (asked != CUDA_ERROR_INVALID_CLUSTER_SIZE) {
    if (auto error = check(asked, "asking how many clusters the device runs at once of")) return error;
  }
  loaded.is_runnable = clusters > 0;
  if (kernel.is_persistent) loaded.max_blocks = static_cast<std::uint32_t>(clusters * kernel.max_cluster_size);
  return loaded;
}

llvm::Error check_runnable(const LoadedKernel& loaded) {
  if (loaded.is_runnable) return llvm::Error::success();
  const codegen::Kernel& kernel = loaded.kernel;
  if (kernel.is_cooperative)
    return make_error(MHCJIT_ERROR_LOAD_FAILED,
                      "kernel {}: the device cannot run {} blocks of {} threads with {} bytes of shared memory at the "
                      "same time; use the whole device, or a plan without clusters",
                      kernel.entry(), kernel.min_blocks, kernel.threads_per_block, kernel.dynamic_smem_bytes);
  return make_error(MHCJIT_ERROR_LOAD_FAILED,
                    "kernel {}: the device cannot run a cluster of {} blocks of {} threads with {} bytes of shared "
                    "memory; use the whole device, or a plan without clusters",
                    kernel.entry(), kernel.max_cluster_size, kernel.threads_per_block, kernel.dynamic_smem_bytes);
}

}  // namespace mhcjit::runtime
