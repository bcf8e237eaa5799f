// Reads the clock of a device's multiprocessors through NVIDIA's management library.
#pragma once

#include <string>

namespace mhcjit::tuning {

class SmClock {
 public:
  // The device is the one to which CUDA's driver gives this UUID of 16 bytes. The library is opened at run time.
  explicit SmClock(const char (&uuid)[16]);

  // Returns 0 if there is no such library, or if it does not say.
  int mhz() const;

 private:
  void* device_ = nullptr;
  int (*get_clock_)(void* device, int clock, unsigned* mhz) = nullptr;
};

}  // namespace mhcjit::tuning
