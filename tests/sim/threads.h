// What only the implementation with real threads offers.
#pragma once

#include <set>
#include <string>

namespace mhcjit::sim {

// The exit code of a process in which a launch came upon a fault or a dead lock: its threads could not be freed.
inline constexpr int fault_exit_code = 67;

// "common/sums.cuh:47": where launches have so far met, arrived or waited in this process.
std::set<std::string> barriers_reached();

// From now on threads pass this place, too, as if nothing stood there in the kernel.
void delete_barrier(const std::string& name);

}  // namespace mhcjit::sim
