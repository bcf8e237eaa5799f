#include "codegen/clusters.h"

#include "support/error.h"

namespace mhcjit::codegen {

std::string clusters_unsupported(const Problem& problem, const Device& device) {
  if (device.has_clusters()) return "";
  const int major = problem.architecture.major;
  if (major == 9 || major == 10) return "it needs clusters, which the device cannot run";
  return fmt::format("it needs clusters: sm_90, sm_100 and sm_103, not {}", to_string(problem.architecture));
}

std::string persistent_tiles_unsupported(const Problem& problem, const Device& device) {
  const int map_columns = 16 / bytes_of(problem.dtype);
  if (problem.d % map_columns != 0)
    return fmt::format("D is {}, tensor maps need a multiple of {}", problem.d, map_columns);
  if (problem.architecture.suffix == 0)
    return fmt::format("it needs clusters and registers that move between warps: sm_90a, sm_100a and sm_103a, not {}",
                       to_string(problem.architecture));
  return clusters_unsupported(problem, device);
}

}  // namespace mhcjit::codegen
