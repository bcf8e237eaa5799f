// Writes the emitted units of a few problems as FOLDER/ARCHITECTURE_OPERATOR_TEMPLATE.cu, one line of stdout a file:
// between them every kernel but the one-pass one, both values of has_gamma, every element type and an odd D.
#include <cstdio>
#include <fstream>
#include <string>

#include "codegen/emit.h"
#include "codegen/heuristic.h"

namespace {

using mhcjit::codegen::Architecture;
using mhcjit::codegen::DType;
using mhcjit::codegen::KernelTemplate;
using mhcjit::codegen::Op;
using mhcjit::codegen::Problem;

bool write(const std::string& folder, const Problem& problem, KernelTemplate kernel_template) {
  auto spec = mhcjit::codegen::choose_spec(problem, kernel_template);
  if (!spec) {
    std::fprintf(stderr, "%s\n", llvm::toString(spec.takeError()).c_str());
    return false;
  }
  const std::string path = folder + "/" + to_string(problem.architecture) + "_" + std::string(to_string(problem.op)) +
                           "_" + std::string(to_string(kernel_template)) + ".cu";
  std::ofstream file(path);
  for (const std::string& unit : mhcjit::codegen::emit_units(*spec)) file << unit;
  if (!file.flush()) {
    std::fprintf(stderr, "%s: cannot be written\n", path.c_str());
    return false;
  }
  std::puts(path.c_str());
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_units FOLDER\n");
    return 2;
  }
  bool ok = true;
  for (const Op op : {Op::pre_forward, Op::pre_backward}) {
    ok &= write(argv[1], {op, 4, 4096, DType::bf16, true, false, Architecture{9, 0, 'a'}}, KernelTemplate::portable);
    ok &= write(argv[1], {op, 3, 127, DType::fp32, false, true, Architecture{8, 0, 0}}, KernelTemplate::portable);
  }
  ok &= write(argv[1], {Op::pre_forward, 3, 127, DType::fp16, false, true, Architecture{8, 0, 0}},
              KernelTemplate::portable);
  return ok ? 0 : 1;
}
