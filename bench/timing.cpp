#include "bench/timing.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/gpu/device_buffer.h"
#include "bench/gpu/events.h"
#include "bench/gpu/stream.h"
#include "bench/statistics.h"

namespace mhcjit::bench {
namespace {

constexpr int warm_up_launches = 10;
// A sample is long against the resolution of an event and against the gap between two graphs, microseconds both.
constexpr double sample_us = 1000.0;
constexpr int max_launches_per_sample = 200;
constexpr int min_samples = 15;
constexpr int max_samples = 300;

double estimate_us(const gpu::Gpu& gpu, const Enqueue& enqueue, CUstream stream) {
  const gpu::Events events(gpu, 2);
  for (int i = 0; i < warm_up_launches; ++i) enqueue(stream, i);
  events.record(0, stream);
  for (int i = 0; i < warm_up_launches; ++i) enqueue(stream, i);
  events.record(1, stream);
  gpu.synchronize(stream);
  return std::max(0.1, events.microseconds(0, 1) / warm_up_launches);
}

int launches_per_sample(double launch_us) {
  return std::clamp(static_cast<int>(std::ceil(sample_us / launch_us)), 1, max_launches_per_sample);
}

Timing sample(const gpu::Gpu& gpu, CUstream stream, double launch_us, int launches, double seconds,
              const std::function<void(int)>& enqueue_sample) {
  const int samples = std::clamp(static_cast<int>(seconds * 1e6 / (launch_us * launches)), min_samples, max_samples);
  const gpu::Events events(gpu, samples + 1);
  enqueue_sample(0);
  events.record(0, stream);
  for (int i = 0; i < samples; ++i) {
    enqueue_sample(i + 1);
    events.record(i + 1, stream);
  }
  gpu.synchronize(stream);
  std::vector<double> values;
  values.reserve(static_cast<std::size_t>(samples));
  for (int i = 0; i < samples; ++i) values.push_back(events.microseconds(i, i + 1) / launches);
  return {quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9), samples, launches};
}

}  // namespace

Timing time_launches(const gpu::Gpu& gpu, const Enqueue& enqueue, double seconds) {
  const gpu::Stream stream(gpu);
  const double launch_us = estimate_us(gpu, enqueue, stream);
  const int launches = launches_per_sample(launch_us);
  return sample(gpu, stream, launch_us, launches, seconds, [&](int number) {
    for (int i = 0; i < launches; ++i) enqueue(stream, number * launches + i);
  });
}

Timing time_graph(const gpu::Gpu& gpu, const Enqueue& enqueue, int period, double seconds) {
  const gpu::Stream stream(gpu);
  const double launch_us = estimate_us(gpu, enqueue, stream);
  const int launches = (launches_per_sample(launch_us) + period - 1) / period * period;
  const gpu::Graph graph(gpu, [&](CUstream captured) {
    for (int i = 0; i < launches; ++i) enqueue(captured, i);
  });
  return sample(gpu, stream, launch_us, launches, seconds, [&](int) { graph.launch(stream); });
}

double copy_gigabytes_per_second(const gpu::Gpu& gpu, double seconds) {
  constexpr std::size_t gibibyte = std::size_t{1} << 30;
  const std::size_t bytes = std::min(gibibyte, gpu.free_bytes() / 4);
  const gpu::DeviceBuffer from(gpu, bytes, 256), to(gpu, bytes, 256);
  const Timing timing = time_launches(gpu, [&](CUstream stream, int) { to.copy_from(from, stream); }, seconds);
  return 2.0 * static_cast<double>(bytes) / timing.median_us * 1e-3;
}

}  // namespace mhcjit::bench
