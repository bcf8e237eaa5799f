#include "codegen/clusters.h"

#include "support/error.h"

namespace mhcjit::codegen {

std::string clusters_unsupported(const Problem& problem, const Device& device) {
  if (device.has_clusters()) return "";
  const int major = problem.architecture.major;
  if (major == 9 || major == 10) return "it needs clusters, which the device cannot run";
  return fmt::format("it needs clusters: sm_90, sm_100 and sm_103, not {}", to_string(problem.architecture));
}

}  // namespace mhcjit::codegen
