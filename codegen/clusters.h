// Conditions on a device that launches clusters, for families that do.
#pragma once

#include <string>

#include "codegen/device.h"
#include "codegen/problem.h"

namespace mhcjit::codegen {

// "" or why the device cannot run clusters.
std::string clusters_unsupported(const Problem& problem, const Device& device);

// "" or why the device cannot run, or the problem not use, kernels that copy tiles of x by tensor maps and move
// registers between the warps of a block, in clusters or beside others that run at the same time.
std::string persistent_tiles_unsupported(const Problem& problem, const Device& device);

}  // namespace mhcjit::codegen
