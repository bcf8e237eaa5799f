// Moments of streams, on the device's own clock.
#pragma once

#include <vector>

#include "bench/gpu/gpu.h"

namespace mhcjit::gpu {

class Events {
 public:
  Events(const Gpu& gpu, int count) : gpu_(gpu), events_(static_cast<std::size_t>(count)) {
    for (CUevent& event : events_)
      gpu.driver.check(gpu.driver.cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate");
  }
  ~Events() {
    for (const CUevent event : events_) gpu_.driver.cuEventDestroy(event);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // Event i is when all that is on the stream now has ended.
  void record(int i, CUstream stream) const {
    gpu_.driver.check(gpu_.driver.cuEventRecord(at(i), stream), "cuEventRecord");
  }
  bool has_happened(int i) const {
    const CUresult result = gpu_.driver.cuEventQuery(at(i));
    if (result != CUDA_ERROR_NOT_READY) gpu_.driver.check(result, "cuEventQuery");
    return result == CUDA_SUCCESS;
  }
  // From one to another that have both happened; negative when `to` was first.
  double microseconds(int from, int to) const {
    float ms = 0.0f;
    gpu_.driver.check(gpu_.driver.cuEventElapsedTime(&ms, at(from), at(to)), "cuEventElapsedTime");
    return static_cast<double>(ms) * 1e3;
  }

 private:
  CUevent at(int i) const { return events_[static_cast<std::size_t>(i)]; }

  const Gpu& gpu_;
  std::vector<CUevent> events_;
};

}  // namespace mhcjit::gpu
