// ring_race_check [--delete FILE:LINE]: what race_check does, for the kernel of ring_kernel.cuh.
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

#include "ring_run.h"
#include "threads.h"

int main(int argc, char** argv) {
  const bool deletes = argc == 3 && std::string_view(argv[1]) == "--delete";
  if (deletes) mhcjit::sim::delete_barrier(argv[2]);
  const std::string wrong = mhcjit::sim::run_ring(2, 8, 1);
  fmt::print(stderr, "{}", wrong);
  for (const std::string& name : mhcjit::sim::barriers_reached()) fmt::print("{}\n", name);
  return wrong.empty() || deletes ? 0 : 1;
}
