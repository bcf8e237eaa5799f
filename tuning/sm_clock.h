// The clock of a device's multiprocessors, as NVIDIA's management library has it.
#pragma once

#include <string>

namespace mhcjit::tuning {

class SmClock {
 public:
  // Of the device that CUDA's driver calls by this UUID: 16 bytes. The library is opened at run time.
  explicit SmClock(const char (&uuid)[16]);

  // 0 where there is no such library, or it does not say.
  int mhz() const;

 private:
  void* device_ = nullptr;
  int (*get_clock_)(void* device, int clock, unsigned* mhz) = nullptr;
};

}  // namespace mhcjit::tuning
