// Work of somebody else's that holds a part of the device.
#pragma once

#include "bench/gpu/device_buffer.h"
#include "bench/gpu/stream.h"
#include "kernel_program.h"

namespace mhcjit::gpu {

// Its kernel, "hold", for the test that compiles it without a GPU. A block writes 1 when it is there, 2 when it leaves
// because it was released and 3 when it gives up.
inline constexpr char holder_source[] = R"source(
struct HolderArgs {
  volatile unsigned int* release;
  volatile unsigned int* states;  // one for each block
  long long max_clocks;
};

extern "C" __global__ void __launch_bounds__(32) hold(const __grid_constant__ HolderArgs args) {
  args.states[blockIdx.x] = 1;
  const long long start = clock64();
  bool released = false;
  while (!released && clock64() - start < args.max_clocks) released = *args.release != 0;
  args.states[blockIdx.x] = released ? 2 : 3;
}
)source";

// `blocks` blocks, each with all shared memory of a multiprocessor but what a memset needs, in clusters of
// `cluster_size` or, where that is 0, wherever there is room. While it is there nothing may be allocated or freed on
// the device: that waits for it. It gives up after some seconds, so that a mistake does not hang the machine.
class Holder {
 public:
  // Returns when every block is there. Throws std::runtime_error when they are not after a second.
  Holder(const Gpu& gpu, unsigned blocks, unsigned cluster_size);
  ~Holder();
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  // Lets the blocks go and waits until they have gone. Returns whether they all were there until now.
  bool release() const;

 private:
  bool all_are(unsigned state) const;

  const unsigned blocks_;
  const KernelProgram program_;
  const DeviceBuffer words_;  // `release`, then the states
  const Stream stream_;
};

unsigned multiprocessors(const Gpu& gpu);

}  // namespace mhcjit::gpu
