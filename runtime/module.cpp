#include "runtime/module.h"

namespace mhcjit::runtime {
namespace {

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

llvm::Expected<LoadedKernel> load_kernel(const DriverApi& driver, CUdevice device, CUlibrary library,
                                         const codegen::StagePlan& plan) {
  const auto check = [&](CUresult result, std::string_view step) {
    return driver.check(result, MHCJIT_ERROR_LOAD_FAILED, "{} kernel {}", step, plan.entry());
  };
  LoadedKernel loaded = {plan.stage, nullptr, static_cast<std::uint32_t>(plan.dynamic_smem_bytes)};
  if (auto error = check(driver.cuLibraryGetKernel(&loaded.kernel, library, plan.entry().c_str()), "finding"))
    return error;
  if (plan.dynamic_smem_bytes > 0) {
    if (auto error = check(driver.cuKernelSetAttribute(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                                       plan.dynamic_smem_bytes, loaded.kernel, device),
                           fmt::format("reserving {} bytes of shared memory for", plan.dynamic_smem_bytes)))
      return error;
  }
  // The driver loads a kernel into a context when it is first asked for there.
  CUfunction function = nullptr;
  if (auto error = check(driver.cuKernelGetFunction(&function, loaded.kernel), "loading")) return error;
  return loaded;
}

}  // namespace

llvm::Expected<std::vector<LoadedKernel>> load_kernels(const DriverApi& driver, CUdevice device, llvm::StringRef cubin,
                                                       const std::vector<codegen::StagePlan>& plans) {
  const RelaxedCapture relaxed(driver);
  CUlibrary library = nullptr;
  if (auto error =
          driver.check(driver.cuLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
                       MHCJIT_ERROR_LOAD_FAILED, "loading a cubin of {} bytes", cubin.size()))
    return error;
  std::vector<LoadedKernel> kernels;
  for (const codegen::StagePlan& plan : plans) {
    auto kernel = load_kernel(driver, device, library, plan);
    if (!kernel) return kernel.takeError();
    kernels.push_back(*kernel);
  }
  return kernels;
}

}  // namespace mhcjit::runtime
