// The legal specs for a problem, and for each combination that is not legal the reason.
#pragma once

#include <string>
#include <vector>

#include "codegen/kernel_spec.h"

namespace mhcjit::codegen {

// Of the devices that kernels are made for: what all have, and what a block of those with clusters may ask for.
inline constexpr int registers_per_multiprocessor = 65536;
inline constexpr int max_opt_in_smem_bytes = 227 * 1024;
inline constexpr int max_cluster_size = 16;

bool has_clusters(const Architecture& architecture);

// "" or why the architecture cannot run clusters.
std::string clusters_unsupported(const Architecture& architecture);

// Clusters of this size that a large device runs at once, with a multiprocessor for each block. What a launch uses is
// what its device's driver says; this is for estimates.
int clusters_at_once(int cluster_size);

struct Candidate {
  KernelSpec spec;
  std::string rejected;  // empty: legal; otherwise why not

  bool legal() const { return rejected.empty(); }
};

// `problem` has passed check(). Deterministic; of the portable template at least one candidate is legal.
std::vector<Candidate> candidates(const Problem& problem, KernelTemplate kernel_template = KernelTemplate::portable);

}  // namespace mhcjit::codegen
