// generate_units OUTPUT_DIR UNIT...: writes each emitted unit as a C++ file, and registry.cpp that lists them.
#include <fstream>
#include <span>
#include <string>

#include <fmt/format.h>
#include <llvm/ADT/StringRef.h>

#include "codegen/operators.h"
#include "host_unit.h"
#include "problems.h"
#include "support/error.h"

namespace {

using namespace mhcjit;

llvm::Error write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (file) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO, "{}: cannot be written", path);
}

// "n4_d127_bf16_pre_forward": a problem and an operator on it.
llvm::Expected<std::string> generate(llvm::StringRef unit) {
  for (const codegen::Operator* op : codegen::operators()) {
    llvm::StringRef problem = unit;
    if (!problem.consume_back(fmt::format("_{}", op->name))) continue;
    auto plan = sim::parse_plan(problem, *op);
    if (!plan) return plan.takeError();
    return sim::host_unit(problem.str(), **plan);
  }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "unit is '{}', allowed: PROBLEM_OPERATOR, an operator of {}",
                    std::string_view(unit), codegen::operator_names());
}

llvm::Error generate(const std::string& folder, std::span<char* const> units) {
  for (const char* unit : units) {
    auto text = generate(unit);
    if (!text) return text.takeError();
    if (auto error = write(fmt::format("{}/{}.cpp", folder, unit), *text)) return error;
  }
  return write(folder + "/registry.cpp", sim::host_registry({units.begin(), units.end()}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} OUTPUT_DIR UNIT...\n", argv[0]);
    return 2;
  }
  auto error = generate(argv[1], {argv + 2, argv + argc});
  if (!error) return 0;
  fmt::print(stderr, "{}\n", mhcjit::take_failure(std::move(error)).text);
  return 1;
}
