// Writes the emitted units of a few problems as FOLDER/ARCHITECTURE_OPERATOR_FAMILY[_in_clusters].cu, one line of
// stdout a file: between them a plan of every family, with clusters and without, both values of has_gamma, every
// element type and an odd D.
#include <cstdio>
#include <fstream>
#include <set>
#include <string>

#include "codegen/emit.h"
#include "codegen/operators.h"
#include "tests/compile/cheapest_plan.h"

namespace {

using mhcjit::codegen::DType;
using mhcjit::codegen::Family;
using mhcjit::codegen::Kernel;
using mhcjit::codegen::Operator;
using mhcjit::codegen::Plan;
using mhcjit::codegen::Problem;

bool write(const std::string& path, const Plan& plan) {
  std::ofstream file(path);
  for (const Kernel& kernel : plan.kernels()) file << mhcjit::codegen::emit(plan.problem(), kernel);
  if (!file.flush()) {
    std::fprintf(stderr, "%s: cannot be written\n", path.c_str());
    return false;
  }
  std::puts(path.c_str());
  return true;
}

// Each family's plans that are legal for the problem; removes the families that have any from `missing`.
bool write_plans(const std::string& folder, const Problem& problem, std::set<const Family*>& missing) {
  for (const Family* family : problem.op->families)
    for (const bool uses_clusters : {false, true}) {
      const auto plan = mhcjit::test::cheapest_plan(problem, *family, uses_clusters, 8192);
      if (!plan) continue;
      missing.erase(family);
      const std::string path = folder + "/" + to_string(problem.architecture) + "_" +
                               std::string(to_string(problem.dtype)) + "_" + std::string(problem.op->name) + "_" +
                               std::string(family->name) + (uses_clusters ? "_in_clusters" : "") + ".cu";
      if (!write(path, *plan)) return false;
    }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_units FOLDER\n");
    return 2;
  }
  bool ok = true;
  for (const Operator* op : mhcjit::codegen::operators()) {
    std::set<const Family*> missing(op->families.begin(), op->families.end());
    ok &= write_plans(argv[1], {op, 4, 4096, DType::bf16, true, false, {9, 0, 'a'}}, missing);
    ok &= write_plans(argv[1], {op, 4, 1024, DType::fp32, false, false, {9, 0, 'a'}}, missing);
    ok &= write_plans(argv[1], {op, 3, 127, DType::fp32, false, false, {8, 0, 0}}, missing);
    ok &= write_plans(argv[1], {op, 3, 127, DType::fp16, false, false, {8, 0, 0}}, missing);
    for (const Family* family : missing) {
      std::fprintf(stderr, "%s %s: no plan is legal for any of the problems\n", std::string(op->name).c_str(),
                   std::string(family->name).c_str());
      ok = false;
    }
  }
  return ok ? 0 : 1;
}
