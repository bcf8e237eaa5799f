// write_unit OUTPUT_DIR: the kernel of the family as C++ for the host, rows.cpp, and registry.cpp that lists it.
#include <fstream>
#include <string>

#include <llvm/Support/Error.h>

#include "codegen/choose.h"
#include "tests/family/rows.h"
#include "tests/sim/host_unit.h"

int main(int argc, char** argv) {
  using namespace mhcjit;
  if (argc != 2) return 2;
  const std::string folder = argv[1];
  const auto buckets = llvm::cantFail(codegen::choose(test::small_problem(), {.wanted = "rows threads=64"}));
  std::ofstream unit(folder + "/rows.cpp");
  unit << sim::host_unit("rows", *buckets.front().plan);
  std::ofstream registry(folder + "/registry.cpp");
  registry << sim::host_registry({"rows_pre_forward"});
  return unit.flush() && registry.flush() ? 0 : 1;
}
