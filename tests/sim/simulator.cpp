#include "simulator.h"

#include <fmt/format.h>

#include "shared_address.h"

namespace mhcjit::sim {

std::string check(const Launch& launch) {
  if (launch.threads_per_block < warp_size || launch.threads_per_block % warp_size != 0)
    return fmt::format("{}: {} threads per block, allowed: multiples of 32", launch.kernel, launch.threads_per_block);
  if (launch.cluster_size < 1 || launch.cluster_size > max_cluster_size || launch.grid_x % launch.cluster_size != 0)
    return fmt::format("{}: clusters of {} blocks in a grid of {}, allowed: divisors up to {}", launch.kernel,
                       launch.cluster_size, launch.grid_x, max_cluster_size);
  if (launch.shared_bytes > max_shared_bytes)
    return fmt::format("{}: {} bytes of shared memory, allowed: up to {}", launch.kernel, launch.shared_bytes,
                       max_shared_bytes);
  return "";
}

}  // namespace mhcjit::sim
