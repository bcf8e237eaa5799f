// How long work takes on the device, by the driver's events.
#pragma once

#include <functional>
#include <vector>

#include "gpu.h"

namespace mhcjit::gpu {

struct Timing {
  double median_us = 0.0;  // of one launch
  double p10_us = 0.0;
  double p90_us = 0.0;
  int samples = 0;
  int launches_per_sample = 0;
};

// Puts launch number i on the stream.
using Enqueue = std::function<void(CUstream stream, int i)>;

// All samples are enqueued behind one another, so that the device never waits for the host unless the launches are
// shorter than what the host needs for one. `seconds` is about how long it measures.
Timing time_launches(const Gpu& gpu, const Enqueue& enqueue, double seconds);

// The same launches replayed from one CUDA graph: without the host's part.
Timing time_graph(const Gpu& gpu, const Enqueue& enqueue, double seconds);

// Of values in any order; `fraction` 0.5 is the median.
double quantile(std::vector<double> values, double fraction);

}  // namespace mhcjit::gpu
