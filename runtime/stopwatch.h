// How long something took, by the monotonic clock.
#pragma once

#include <chrono>
#include <cstdint>

namespace mhcjit::runtime {

class Stopwatch {
 public:
  std::uint64_t nanoseconds() const {
    const auto elapsed = std::chrono::steady_clock::now() - start_;
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
  }
  double milliseconds() const { return static_cast<double>(nanoseconds()) * 1e-6; }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace mhcjit::runtime
