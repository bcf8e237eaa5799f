// How many compiles a machine can run at the same time.
#pragma once

#include <cstdint>

namespace mhcjit::tools {

// One for each core, as long as each has 500 MB, which is 100 MB for each of an operator's kernels (NVRTC holds 74 to
// 92 MB for one compile); at least 1.
int default_jobs(unsigned cores, std::uint64_t memory_bytes);

// Memory that this process can have without swapping: what the machine has available, or the limit of its cgroup where
// that is less. 0 when the system does not say.
std::uint64_t available_memory_bytes();

}  // namespace mhcjit::tools
