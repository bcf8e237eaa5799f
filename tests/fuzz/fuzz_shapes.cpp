// Fuzzes the shapes file. Beyond not crashing, what is accepted must be problems that the library takes, each once.
#include <cstdlib>
#include <set>

#include "tools/shapes.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto shapes = mhcjit::tools::parse_shapes("fuzzed", {reinterpret_cast<const char*>(data), size});
  if (!shapes) {
    require(llvm::StringRef(llvm::toString(shapes.takeError())).starts_with("fuzzed"));
    return 0;
  }
  require(!shapes->problems.empty());
  std::set<mhcjit::codegen::Problem> seen;
  for (const mhcjit::codegen::Problem& problem : shapes->problems) {
    require(!mhcjit::codegen::check(problem));
    require(seen.insert(problem).second);
  }
  return 0;
}
