// What only the implementation with real threads offers.
#pragma once

#include <set>
#include <string>

namespace mhcjit::sim {

// "sums.cuh:47": the barriers that a launch has reached so far in this process.
std::set<std::string> barriers_reached();

// From now on threads pass this barrier as if it did not stand in the kernel.
void delete_barrier(const std::string& name);

}  // namespace mhcjit::sim
