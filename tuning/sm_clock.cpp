#include "tuning/sm_clock.h"

#include <dlfcn.h>

#include <fmt/format.h>

namespace mhcjit::tuning {
namespace {

// These declarations are nvml.h's, whose interface is stable.
constexpr int success = 0;
constexpr int clock_of_multiprocessors = 1;

// The library writes a UUID as "GPU-" and the bytes in groups.
std::string text_of(const char (&uuid)[16]) {
  std::string text = "GPU";
  for (std::size_t i = 0; i < sizeof uuid; ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(uuid[i]));
  }
  return text;
}

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = library == nullptr ? nullptr : reinterpret_cast<Function>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

SmClock::SmClock(const char (&uuid)[16]) {
  void* const library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  int (*init)() = nullptr;
  int (*get_device)(const char* uuid, void** device) = nullptr;
  if (!find(library, "nvmlInit_v2", init) || !find(library, "nvmlDeviceGetHandleByUUID", get_device)) return;
  if (init() != success || get_device(text_of(uuid).c_str(), &device_) != success) return;
  find(library, "nvmlDeviceGetClockInfo", get_clock_);
}

int SmClock::mhz() const {
  unsigned mhz = 0;
  if (get_clock_ == nullptr || get_clock_(device_, clock_of_multiprocessors, &mhz) != success) return 0;
  return static_cast<int>(mhz);
}

}  // namespace mhcjit::tuning
