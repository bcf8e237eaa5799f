// How long work takes on the device, by the driver's events.
#pragma once

#include <functional>

#include "bench/gpu/gpu.h"

namespace mhcjit::bench {

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
Timing time_launches(const gpu::Gpu& gpu, const Enqueue& enqueue, double seconds);

// The same launches replayed from one CUDA graph: without the host's part. The graph holds launches 0 to k - 1, with k
// a multiple of `period`: replayed, launch 0 follows upon launch period - 1.
Timing time_graph(const gpu::Gpu& gpu, const Enqueue& enqueue, int period, double seconds);

// A device-to-device copy of 1 GiB, or of a quarter of the memory that is free, in bytes read plus bytes written for
// each second, in units of 1e9.
double copy_gigabytes_per_second(const gpu::Gpu& gpu, double seconds);

}  // namespace mhcjit::bench
