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

void check_arrivals(int arrivals, const Place& where) {
  if (arrivals < 1 || arrivals > max_barrier_count)
    throw Fault(fmt::format("barrier_init at {} with {} arrivals, allowed: 1 to 2^20 - 1", to_string(where), arrivals));
}

void check_parity(int parity, const Place& where) {
  if (parity != 0 && parity != 1)
    throw Fault(fmt::format("wait at {} for parity {}, allowed: 0 and 1", to_string(where), parity));
}

}  // namespace mhcjit::sim
