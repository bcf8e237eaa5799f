#include "tools/warmup_jobs.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace mhcjit::tools {
namespace {

// The kernels of an operator, five at most, are compiled at the same time, with 100 MB each.
constexpr std::uint64_t bytes_per_job = 500'000'000;
constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t machine_available_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (std::uint64_t kilobytes = 0; file >> name >> kilobytes; std::getline(file, unit))
    if (name == "MemAvailable:") return kilobytes * 1024;
  return 0;
}

// The file says "max" where there is no limit.
std::uint64_t cgroup_limit_bytes() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  std::uint64_t bytes = 0;
  return file >> bytes ? bytes : unlimited;
}

}  // namespace

int default_jobs(unsigned cores, std::uint64_t memory_bytes) {
  const std::uint64_t jobs = std::min<std::uint64_t>(cores, memory_bytes / bytes_per_job);
  return static_cast<int>(std::clamp<std::uint64_t>(jobs, 1, 256));
}

std::uint64_t available_memory_bytes() { return std::min(machine_available_bytes(), cgroup_limit_bytes()); }

}  // namespace mhcjit::tools
