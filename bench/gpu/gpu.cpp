#include "bench/gpu/gpu.h"

#include <optional>
#include <stdexcept>

#include <fmt/format.h>

#include "codegen/problem.h"
#include "support/threads.h"

namespace mhcjit::gpu {
namespace {

std::string missing;

int attribute(const Driver& driver, CUdevice device, CUdevice_attribute which) {
  int value = 0;
  driver.check(driver.cuDeviceGetAttribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

std::optional<Gpu> open_device() {
  const Driver* driver = open_driver(missing);
  if (driver == nullptr) return std::nullopt;
  int count = 0;
  CUresult result = driver->cuInit(0);
  if (result == CUDA_SUCCESS) result = driver->cuDeviceGetCount(&count);
  if (result != CUDA_SUCCESS || count == 0) {
    missing = fmt::format("the CUDA driver reports no device (error {}, {} devices)", static_cast<int>(result), count);
    return std::nullopt;
  }
  Gpu gpu{*driver, {}, {}, {}, {}, {}, {}};
  driver->check(driver->cuDeviceGet(&gpu.device, 0), "cuDeviceGet");
  char name[256] = {};
  driver->check(driver->cuDeviceGetName(name, sizeof(name) - 1, gpu.device), "cuDeviceGetName");
  gpu.name = name;
  int version = 0;
  driver->check(driver->cuDriverGetVersion(&version), "cuDriverGetVersion");
  gpu.driver_version = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  gpu.architecture = to_string(
      codegen::architecture_of_device(attribute(*driver, gpu.device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
                                      attribute(*driver, gpu.device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)));
  gpu.l2_bytes = attribute(*driver, gpu.device, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
  driver->check(driver->cuDevicePrimaryCtxRetain(&gpu.context, gpu.device), "cuDevicePrimaryCtxRetain");
  return gpu;
}

const std::optional<Gpu>& device_0() {
  static const std::optional<Gpu> gpu = open_device();
  return gpu;
}

}  // namespace

void Gpu::make_current() const { driver.check(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent"); }

void Gpu::synchronize(CUstream stream) const {
  driver.check(driver.cuStreamSynchronize(stream), "cuStreamSynchronize");
}

std::size_t Gpu::free_bytes() const {
  std::size_t free = 0, total = 0;
  driver.check(driver.cuMemGetInfo(&free, &total), "cuMemGetInfo");
  return free;
}

const Gpu* find_gpu() {
  const std::optional<Gpu>& gpu = device_0();
  if (!gpu) return nullptr;
  gpu->make_current();
  return &*gpu;
}

const std::string& missing_gpu() { return missing; }

void require(mhcjit_status status, std::string_view what) {
  if (status != MHCJIT_SUCCESS)
    throw std::runtime_error(fmt::format("{}: {}: {}", what, mhcjit_status_name(status), mhcjit_last_error()));
}

const mhcjit_operator* prepare(mhcjit_engine* engine, const mhcjit_problem& problem) {
  const mhcjit_operator* op = nullptr;
  require(mhcjit_prepare(engine, &problem, MHCJIT_DEVICE_GPU, nullptr, &op), "mhcjit_prepare");
  return op;
}

void compile_all(mhcjit_engine* engine, const Gpu& gpu, std::span<const mhcjit_problem> problems) {
  parallel_for(static_cast<std::int64_t>(problems.size()), 0, [&](std::int64_t i) {
    mhcjit_compile(engine, &problems[static_cast<std::size_t>(i)], gpu.architecture.c_str(), nullptr);
  });
}

}  // namespace mhcjit::gpu
