// What families that launch clusters ask of a device.
#pragma once

#include <string>

#include "codegen/device.h"
#include "codegen/problem.h"

namespace mhcjit::codegen {

// "" or why the device cannot run clusters.
std::string clusters_unsupported(const Problem& problem, const Device& device);

}  // namespace mhcjit::codegen
