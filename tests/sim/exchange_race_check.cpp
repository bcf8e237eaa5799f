// exchange_race_check [--torn | --alone | --delete FILE:LINE]: what race_check does, for the kernel of
// exchange_kernel.cuh. With --torn the blocks hand out values apart from the words that say that they are there; with
// --alone each runs by itself.
#include <cstdio>
#include <string_view>

#include <fmt/format.h>

#include "exchange_run.h"
#include "threads.h"

int main(int argc, char** argv) {
  const std::string_view option = argc > 1 ? argv[1] : "";
  const bool deletes = argc == 3 && option == "--delete";
  if (deletes) mhcjit::sim::delete_barrier(argv[2]);
  const mhcjit::sim::Exchange exchange = {
      .blocks = 3, .is_cooperative = option != "--alone", .is_handed_whole = option != "--torn"};
  const std::string wrong = exchange.run(1);
  fmt::print(stderr, "{}", wrong);
  for (const std::string& name : mhcjit::sim::barriers_reached()) fmt::print("{}\n", name);
  return wrong.empty() || deletes ? 0 : 1;
}
