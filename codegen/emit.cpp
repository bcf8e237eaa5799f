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
  return op == Op::pre_forward ? ArgumentStruct{"PreForwardArgs", 128} : ArgumentStruct{"PreBackwardArgs", 200};
}

}  // namespace

std::string emit_unit(const KernelSpec& spec) {
  const std::vector<StagePlan> plans = stages(spec);
  const ArgumentStruct args = argument_struct(spec.problem.op);
  std::string text;
  const auto out = std::back_inserter(text);

  fmt::format_to(out, "// {}\n", to_string(spec.problem));
  for (const StagePlan& plan : plans) fmt::format_to(out, "#include <{}.cuh>\n", plan.name);

  text += "\nnamespace {\n\nstruct Spec {\n";
  fmt::format_to(out, "  using Element = {};\n", element_type(spec.problem.dtype));
  fmt::format_to(out, "  static constexpr bool has_gamma = {};\n", spec.problem.has_gamma);
  if (spec.problem.op == Op::pre_forward)
    fmt::format_to(out, "  static constexpr bool scales_phi = {};\n", spec.problem.dtype == DType::fp16);
  for (const auto& [name, value] : constants(spec))
    fmt::format_to(out, "  static constexpr int {} = {};\n", name, value);
  text += "};\n\n}  // namespace\n";

  fmt::format_to(out, "\nstatic_assert(sizeof({}) == {});\n", args.name, args.bytes);
  for (const StagePlan& plan : plans)
    if (plan.dynamic_smem_bytes > 0)
      fmt::format_to(out, "static_assert({}<Spec>::shared_floats * sizeof(float) == {});\n", plan.plan,
                     plan.dynamic_smem_bytes);

  for (const StagePlan& plan : plans)
    fmt::format_to(out,
                   "\nextern \"C\" __global__ void __launch_bounds__({}, {})\n"
                   "{}(const __grid_constant__ {} args{}) {{\n"
                   "  {}<Spec>(args{});\n"
                   "}}\n",
                   plan.threads_per_block, plan.min_blocks_per_multiprocessor, plan.entry(), args.name,
                   plan.takes_tensor_map() ? ", const __grid_constant__ device::TensorMap x" : "", plan.name,
                   plan.takes_tensor_map() ? ", x" : "");
  return text;
}

}  // namespace mhcjit::codegen
