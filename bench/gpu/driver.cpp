#include "bench/gpu/driver.h"

#include <dlfcn.h>

#include <stdexcept>
#include <type_traits>

#include <fmt/format.h>

namespace mhcjit::gpu {
namespace {

constexpr int interface_version = 12000;

std::string fill(Driver& driver) {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return fmt::format("the CUDA driver cannot be opened: {}", dlerror());
  const auto get_address = reinterpret_cast<decltype(&::cuGetProcAddress)>(dlsym(library, "cuGetProcAddress_v2"));
  if (get_address == nullptr) return "the CUDA driver is older than CUDA 12.0";
#define MHCJIT_FIND(name)                                                                                             \
  {                                                                                                                   \
    void* address = nullptr;                                                                                          \
    CUdriverProcAddressQueryResult found = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;                                      \
    if (get_address(#name, &address, interface_version, CU_GET_PROC_ADDRESS_LEGACY_STREAM, &found) != CUDA_SUCCESS || \
        address == nullptr)                                                                                           \
      return "the CUDA driver has no " #name;                                                                         \
    driver.name = reinterpret_cast<std::decay_t<decltype(driver.name)>>(address);                                     \
  }
  MHCJIT_GPU_FUNCTIONS(MHCJIT_FIND)
#undef MHCJIT_FIND
  return "";
}

}  // namespace

void Driver::check(CUresult result, const char* what) const {
  if (result == CUDA_SUCCESS) return;
  const char* error = nullptr;
  if (cuGetErrorName(result, &error) != CUDA_SUCCESS || error == nullptr) error = "unknown CUDA error";
  throw std::runtime_error(fmt::format("{}: {} ({})", what, error, static_cast<int>(result)));
}

const Driver* open_driver(std::string& missing) {
  static Driver driver;
  static const std::string failure = fill(driver);
  missing = failure;
  return failure.empty() ? &driver : nullptr;
}

}  // namespace mhcjit::gpu
