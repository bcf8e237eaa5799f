#include "runtime/driver_api.h"

#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "runtime/fork_guard.h"

namespace mhcjit::runtime {
namespace {

constexpr char default_name[] = "libcuda.so.1";
constexpr char remedy[] = "install an NVIDIA driver of CUDA 12.0 or newer (R525), or use MHCJIT_DEVICE_CPU";

// 0: no driver has been initialised; otherwise 1 + the fork generation of the process that did it.
std::atomic<std::uint32_t> initialised_generation = 0;

std::string path_of_handle(void* handle, const std::string& fallback) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map->l_name[0] == '\0') return fallback;
  return map->l_name;
}

using GetProcAddress = decltype(&::cuGetProcAddress);

llvm::Error fill(DriverFunctions& functions, GetProcAddress get_address, const std::string& path) {
  const auto find = [&](const char* name, auto& function) {
    void* address = nullptr;
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    // Legacy stream semantics: a NULL stream means the default stream that the rest of the process shares.
    const CUresult result =
        get_address(name, &address, oldest_driver_version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found);
    if (result != CUDA_SUCCESS || found != CU_GET_PROC_ADDRESS_SUCCESS || address == nullptr) return false;
    function = reinterpret_cast<std::decay_t<decltype(function)>>(address);
    return true;
  };
#define MHCJIT_FIND(name)           \
  if (!find(#name, functions.name)) \
    return make_error(MHCJIT_ERROR_NO_DEVICE, "the CUDA driver {} is too old: it has no {}; {}", path, #name, remedy);
  MHCJIT_DRIVER_FUNCTIONS(MHCJIT_FIND)
#undef MHCJIT_FIND
  return llvm::Error::success();
}

}  // namespace

llvm::Expected<const DriverApi*> DriverApi::load(const std::string& path) {
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::string, std::unique_ptr<DriverApi>>;  // must outlive static destruction
  const std::lock_guard lock(mutex);
  if (const auto found = loaded.find(path); found != loaded.end()) return found->second.get();

  const std::string name = path.empty() ? default_name : path;
  void* handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return make_error(MHCJIT_ERROR_NO_DEVICE, "the CUDA driver {} cannot be opened ({}); {}", name, dlerror(), remedy);
  const auto get_address = reinterpret_cast<GetProcAddress>(dlsym(handle, "cuGetProcAddress_v2"));
  if (get_address == nullptr)
    return make_error(MHCJIT_ERROR_NO_DEVICE, "the CUDA driver {} is too old: it has no cuGetProcAddress_v2; {}", name,
                      remedy);
  auto driver = std::make_unique<DriverApi>();
  driver->path_ = path_of_handle(handle, name);
  if (auto error = fill(*driver, get_address, name)) return error;
  return loaded.emplace(path, std::move(driver)).first->second.get();
}

llvm::Error DriverApi::initialise() const {
  if (auto error = check_not_forked()) return error;
  const CUresult result = cuInit(0);
  if (auto error = check(result, MHCJIT_ERROR_NO_DEVICE, "cuInit of the CUDA driver {}", path_)) return error;
  initialised_generation.store(fork_generation() + 1, std::memory_order_relaxed);
  return llvm::Error::success();
}

llvm::Error DriverApi::check_not_forked() const {
  const std::uint32_t initialised = initialised_generation.load(std::memory_order_relaxed);
  if (initialised == 0 || initialised == fork_generation() + 1) [[likely]]
    return llvm::Error::success();
  return make_error(MHCJIT_ERROR_FORKED,
                    "this process was forked after its parent had initialised CUDA, which a child cannot use; create "
                    "the engine after the fork, or start the child with exec");
}

llvm::Error DriverApi::failure(CUresult result, mhcjit_status status, std::string what) const {
  const char* name = nullptr;
  const char* text = nullptr;
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) name = "unknown CUDA error";
  if (cuGetErrorString(result, &text) != CUDA_SUCCESS || text == nullptr) text = "no description";
  const auto with = [&](mhcjit_status code, std::string_view advice) {
    return make_error(code, "{} failed: {} ({}, {}){}", what, name, static_cast<int>(result), text, advice);
  };
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY: return with(MHCJIT_ERROR_OUT_OF_MEMORY, "; free memory and call again");
    case CUDA_ERROR_INVALID_CONTEXT:
      return with(MHCJIT_ERROR_NO_DEVICE,
                  "; no CUDA context is current on this thread: make one current (cuCtxSetCurrent, cudaSetDevice, "
                  "mhcjit_device_open)");
    case CUDA_ERROR_NO_DEVICE:
      return with(MHCJIT_ERROR_NO_DEVICE,
                  "; the driver sees no device: check nvidia-smi and CUDA_VISIBLE_DEVICES, or "
                  "use MHCJIT_DEVICE_CPU");
    case CUDA_ERROR_NOT_INITIALIZED:
      return with(MHCJIT_ERROR_NO_DEVICE,
                  "; a process forked from one that used CUDA cannot use it: start it with exec");
    case CUDA_ERROR_DEINITIALIZED:
      return with(MHCJIT_ERROR_NO_DEVICE, "; the driver is shutting down with the process");
    default: return with(status, "");
  }
}

int DriverApi::cuda_version() const {
  int version = 0;
  return cuDriverGetVersion(&version) == CUDA_SUCCESS ? version : 0;
}

std::string DriverApi::version() const {
  const int version = cuda_version();
  if (version == 0) return "unknown";
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace mhcjit::runtime
