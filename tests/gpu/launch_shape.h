// How a kernel's grid is laid out.
#pragma once

#include <cstddef>

namespace mhcjit::gpu {

struct LaunchShape {
  unsigned grid_x = 1;
  unsigned grid_y = 1;
  unsigned threads_per_block = 128;
  std::size_t shared_bytes = 0;
  unsigned cluster_size = 0;  // blocks, side by side in x; 0: not launched as clusters
  bool is_cooperative = false;
};

}  // namespace mhcjit::gpu
