// generate_units OUTPUT_DIR UNIT...: writes each emitted unit as a C++ file, and registry.cpp that lists them.
//
// Entries and structs of constants have the same names for every problem, so each file renames its own before it takes
// in the emitted units of its operator, which are otherwise untouched.
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <llvm/ADT/StringRef.h>

#include "codegen/emit.h"
#include "problems.h"
#include "support/error.h"

namespace {

using namespace mhcjit;

std::string wrap(const std::string& problem, const codegen::KernelSpec& spec) {
  const std::string_view op = codegen::to_string(spec.problem.op);
  const std::string_view args = spec.problem.op == codegen::Op::pre_forward ? "PreForwardArgs" : "PreBackwardArgs";
  const std::string unit = fmt::format("{}_{}", problem, op);
  std::string renames;
  std::string entries;
  for (const codegen::StagePlan& stage : codegen::stages(spec)) {
    for (const std::string& name : {stage.entry(), stage.constants()})
      renames += fmt::format("#define {0} {1}_{0}\n", name, unit);
    entries += fmt::format(
        "    {{\"{0}\", [](const void* args, const void* tensor_map) {{\n"
        "       static_cast<void>(tensor_map);\n"
        "       {1}_{0}(*static_cast<const {2}*>(args){3});\n"
        "     }}}},\n",
        stage.entry(), unit, args,
        stage.takes_tensor_map() ? ", *static_cast<const device::TensorMap*>(tensor_map)" : "");
  }
  return fmt::format(
      "{}\n{}\n#include \"unit.h\"\n\n"
      "static constexpr mhcjit::sim::Entry entries[] = {{\n{}}};\n"
      "extern const mhcjit::sim::Unit {}_unit;\n"
      "const mhcjit::sim::Unit {}_unit = {{\"{}\", \"{}\", entries}};\n",
      renames, fmt::join(codegen::emit_units(spec), "\n"), entries, unit, unit, problem, op);
}

std::string registry(const std::vector<std::string>& names) {
  std::string declarations;
  std::string list;
  for (const std::string& name : names) {
    declarations += fmt::format("extern const mhcjit::sim::Unit {}_unit;\n", name);
    list += fmt::format("    &{}_unit,\n", name);
  }
  return fmt::format(
      "#include \"unit.h\"\n\n{}\n"
      "std::span<const mhcjit::sim::Unit* const> mhcjit::sim::units() {{\n"
      "  static constexpr const Unit* list[] = {{\n{}  }};\n"
      "  return list;\n"
      "}}\n",
      declarations, list);
}

llvm::Error write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (file) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO, "{}: cannot be written", path);
}

// "n4_d127_bf16_pre_forward": a problem and an operator on it.
llvm::Expected<codegen::KernelSpec> spec_of(llvm::StringRef unit, std::string& problem) {
  for (const codegen::Op op : {codegen::Op::pre_forward, codegen::Op::pre_backward}) {
    llvm::StringRef name = unit;
    if (!name.consume_back(fmt::format("_{}", codegen::to_string(op)))) continue;
    problem = name.str();
    return sim::parse_spec(problem, op);
  }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "unit is '{}', allowed: PROBLEM_pre_forward, PROBLEM_pre_backward",
                    std::string_view(unit));
}

llvm::Error generate(const std::string& folder, std::span<char* const> units) {
  for (const char* unit : units) {
    std::string problem;
    auto spec = spec_of(unit, problem);
    if (!spec) return spec.takeError();
    if (auto error = write(fmt::format("{}/{}.cpp", folder, unit), wrap(problem, *spec))) return error;
  }
  return write(folder + "/registry.cpp", registry({units.begin(), units.end()}));
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
