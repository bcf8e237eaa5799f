// Reads ptxas's report of each kernel from the log of a compile with --ptxas-options=-v.
#pragma once

#include <string_view>
#include <vector>

#include "cache/entry.h"

namespace mhcjit::runtime {

// One element per kernel, in the log's order; max_threads_per_block is not in a log and stays 0.
std::vector<cache::KernelResources> parse_ptxas_log(std::string_view log);

}  // namespace mhcjit::runtime
