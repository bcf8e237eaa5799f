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

// sizeof of the argument structs in templates/pre_args.cuh, which the launch code fills.
struct ArgumentStruct {
  std::string_view name;
  int bytes;
};

ArgumentStruct argument_struct(Op op) {
  return op == Op::pre_forward ? ArgumentStruct{"PreForwardArgs", 136} : ArgumentStruct{"PreBackwardArgs", 200};
}

std::string emit_unit(const KernelSpec& spec, const StagePlan& plan) {
  const ArgumentStruct args = argument_struct(spec.problem.op);
  const std::string constants_of = plan.constants();
  std::string text;
  const auto out = std::back_inserter(text);

  fmt::format_to(out, "// {}\n#include <{}.cuh>\n", to_string(spec.problem), plan.name);

  fmt::format_to(out, "\nstruct {} {{\n", constants_of);
  fmt::format_to(out, "  using Element = {};\n", element_type(spec.problem.dtype));
  fmt::format_to(out, "  static constexpr bool has_gamma = {};\n", spec.problem.has_gamma);
  if (spec.problem.op == Op::pre_forward)
    fmt::format_to(out, "  static constexpr bool scales_phi = {};\n", spec.problem.dtype == DType::fp16);
  for (const auto& [name, value] : constants(spec))
    fmt::format_to(out, "  static constexpr int {} = {};\n", name, value);
  text += "};\n";

  fmt::format_to(out, "\nstatic_assert(sizeof({}) == {});\n", args.name, args.bytes);
  if (plan.dynamic_smem_bytes > 0)
    fmt::format_to(out, "static_assert({}<{}>::shared_floats * sizeof(float) == {});\n", plan.plan, constants_of,
                   plan.dynamic_smem_bytes);

  fmt::format_to(out,
                 "\nextern \"C\" __global__ void __launch_bounds__({}, {})\n"
                 "{}(const __grid_constant__ {} args{}) {{\n"
                 "  {}<{}>(args{});\n"
                 "}}\n",
                 plan.threads_per_block, plan.min_blocks_per_multiprocessor, plan.entry(), args.name,
                 plan.takes_tensor_map() ? ", const __grid_constant__ device::TensorMap x" : "", plan.name,
                 constants_of, plan.takes_tensor_map() ? ", x" : "");
  return text;
}

}  // namespace

std::vector<std::string> emit_units(const KernelSpec& spec) {
  std::vector<std::string> units;
  for (const StagePlan& plan : stages(spec)) units.push_back(emit_unit(spec, plan));
  return units;
}

}  // namespace mhcjit::codegen
