#include "host_unit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "codegen/emit.h"
#include "problems.h"

namespace mhcjit::sim {
namespace {

std::string shared_bytes(const codegen::Kernel& kernel) {
  if (kernel.dynamic_smem_bytes != smem_bytes_of_template) return fmt::format("{}", kernel.dynamic_smem_bytes);
  return fmt::format("sizeof(float) * {}<{}>::shared_floats", kernel.plan, codegen::constants_struct(kernel));
}

// A call of the entry with the parameters of a launch.
std::string call(const codegen::Problem& problem, const codegen::Kernel& kernel) {
  std::vector<std::string> types = {std::string(problem.op->kernel_arguments)};
  if (!kernel.work.empty()) types.push_back(kernel.work);
  types.resize(types.size() + kernel.maps.size(), "device::TensorMap");
  std::vector<std::string> arguments;
  for (std::size_t i = 0; i < types.size(); ++i)
    arguments.push_back(fmt::format("*static_cast<const {}*>(parameters[{}])", types[i], i));
  return fmt::format("{}({})", kernel.entry(), fmt::join(arguments, ", "));
}

}  // namespace

std::string host_unit(const std::string& name, const codegen::Plan& plan) {
  const codegen::Problem& problem = plan.problem();
  const std::string unit = fmt::format("{}_{}", name, problem.op->name);
  std::string renames;
  std::string kernels;
  std::string entries;
  for (const codegen::Kernel& kernel : plan.kernels()) {
    for (const std::string& own : {kernel.entry(), codegen::constants_struct(kernel)})
      renames += fmt::format("#define {0} {1}_{0}\n", own, unit);
    kernels += codegen::emit(problem, kernel) + "\n";
    entries += fmt::format("    {{\"{}\", {}, [](const void* const* parameters) {{ {}; }}}},\n", kernel.entry(),
                           shared_bytes(kernel), call(problem, kernel));
  }
  return fmt::format(
      "{}\n{}#include \"unit.h\"\n\n"
      "static constexpr mhcjit::sim::Entry entries[] = {{\n{}}};\n"
      "extern const mhcjit::sim::Unit {}_unit;\n"
      "const mhcjit::sim::Unit {}_unit = {{\"{}\", \"{}\", entries}};\n",
      renames, kernels, entries, unit, unit, name, problem.op->name);
}

std::string host_registry(const std::vector<std::string>& names) {
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

}  // namespace mhcjit::sim
