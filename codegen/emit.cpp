#include "codegen/emit.h"

#include <iterator>

#include "support/error.h"

namespace mhcjit::codegen {
namespace {

std::string_view element_type(DType dtype) {
  switch (dtype) {
    case DType::bf16: return "device::bf16";
    case DType::fp16: return "device::fp16";
    case DType::fp32: return "float";
  }
  return "";
}

}  // namespace

std::string constants_struct(const Kernel& kernel) { return kernel.plan + "Spec"; }

std::string emit(const Problem& problem, const Kernel& kernel) {
  const Operator& op = *problem.op;
  const std::string constants = constants_struct(kernel);
  std::string text;
  const auto out = std::back_inserter(text);

  fmt::format_to(out, "#include <{}>\n#include <{}>\n", op.kernel_header, kernel.header);

  fmt::format_to(out, "\nstruct {} {{\n  using Element = {};\n", constants, element_type(problem.dtype));
  for (const auto& [name, value] : kernel.constants) {
    if (const bool* flag = std::get_if<bool>(&value))
      fmt::format_to(out, "  static constexpr bool {} = {};\n", name, *flag);
    else
      fmt::format_to(out, "  static constexpr int {} = {};\n", name, std::get<std::int64_t>(value));
  }
  text += "};\n";

  fmt::format_to(out, "\nstatic_assert(sizeof({}) == {});\n", op.kernel_arguments, op.arguments.kernel_bytes);
  if (!kernel.work.empty()) fmt::format_to(out, "static_assert(sizeof({}) == {});\n", kernel.work, kernel.work_bytes);
  if (kernel.dynamic_smem_bytes > 0)
    fmt::format_to(out, "static_assert({}<{}>::shared_floats * sizeof(float) == {});\n", kernel.plan, constants,
                   kernel.dynamic_smem_bytes);

  std::string parameters = fmt::format("const __grid_constant__ {} args", op.kernel_arguments);
  std::string arguments = "args";
  if (!kernel.work.empty()) {
    parameters += fmt::format(", const __grid_constant__ {} work", kernel.work);
    arguments += ", work";
  }
  for (const TensorMap& map : kernel.maps) {
    parameters += fmt::format(", const __grid_constant__ device::TensorMap {}", map.tensor);
    arguments += fmt::format(", {}", map.tensor);
  }
  fmt::format_to(out,
                 "\nextern \"C\" __global__ void __launch_bounds__({}, {})\n"
                 "{}({}) {{\n"
                 "  {}<{}>({});\n"
                 "}}\n",
                 kernel.threads_per_block, kernel.min_blocks_per_multiprocessor, kernel.entry(), parameters,
                 kernel.name, constants, arguments);
  return text;
}

}  // namespace mhcjit::codegen
