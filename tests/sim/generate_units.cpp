// generate_units OUTPUT_DIR PROBLEM...: writes the emitted unit of each operator on each problem as a C++ file, and
// registry.cpp that lists them.
//
// A unit's extern "C" entries have the same names in every unit, so each file renames its own before it takes in the
// emitted text, which is otherwise untouched.
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "codegen/emit.h"
#include "codegen/heuristic.h"
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
    renames += fmt::format("#define {0} {1}_{0}\n", stage.entry(), unit);
    entries += fmt::format("    {{\"{0}\", [](const void* args) {{ {1}_{0}(*static_cast<const {2}*>(args)); }}}},\n",
                           stage.entry(), unit, args);
  }
  return fmt::format(
      "{}\n{}\n#include \"unit.h\"\n\n"
      "static constexpr mhcjit::sim::Entry entries[] = {{\n{}}};\n"
      "extern const mhcjit::sim::Unit {}_unit;\n"
      "const mhcjit::sim::Unit {}_unit = {{\"{}\", \"{}\", entries}};\n",
      renames, codegen::emit_unit(spec), entries, unit, unit, problem, op);
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

llvm::Error generate(const std::string& folder, std::span<char* const> problems) {
  std::vector<std::string> names;
  for (const std::string problem : problems) {
    for (const codegen::Op op : {codegen::Op::pre_forward, codegen::Op::pre_backward}) {
      auto parsed = sim::parse_problem(problem, op);
      if (!parsed) return parsed.takeError();
      auto spec = codegen::choose_spec(*parsed);
      if (!spec) return spec.takeError();
      names.push_back(fmt::format("{}_{}", problem, codegen::to_string(op)));
      if (auto error = write(fmt::format("{}/{}.cpp", folder, names.back()), wrap(problem, *spec))) return error;
    }
  }
  return write(folder + "/registry.cpp", registry(names));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: {} OUTPUT_DIR PROBLEM...\n", argv[0]);
    return 2;
  }
  auto error = generate(argv[1], {argv + 2, argv + argc});
  if (!error) return 0;
  fmt::print(stderr, "{}\n", mhcjit::take_failure(std::move(error)).text);
  return 1;
}
