#include "tests/runtime/cpu/cpu_case.h"

#include "oracle/tensors.h"
#include "runtime/cpu/operators.h"

namespace mhcjit::runtime::cpu {
namespace {

std::vector<double> slice(const std::vector<double>& values, std::int64_t first, std::int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

}  // namespace

codegen::Problem CpuCase::problem(const codegen::Operator& op) const {
  constexpr codegen::DType dtypes[] = {codegen::DType::bf16, codegen::DType::fp16, codegen::DType::fp32};
  codegen::Problem result;
  result.op = &op;
  result.n = options.shape.n;
  result.d = options.shape.D;
  result.dtype = dtypes[options.dtype];
  result.has_gamma = options.shape.has_gamma;
  result.has_fp32_dx = fp32_dx && &op == &codegen::pre_backward;
  return result;
}

CpuCase CpuCase::tokens(std::int64_t first, std::int64_t count) const {
  CpuCase part = *this;
  const oracle::Shape& shape = options.shape;
  const auto cut = [&](std::vector<double>& values, std::int64_t width) {
    values = slice(values, first * width, count * width);
  };
  part.options.shape.T = count;
  cut(part.inputs.x, shape.columns());
  cut(part.gradients.dh_in, shape.D);
  cut(part.gradients.dh_post, shape.n);
  cut(part.gradients.dh_res, shape.n * shape.n);
  return part;
}

namespace {

// Points `args` at the inputs, in storage that it returns, and at `outputs`. NULL for an input without values.
template <typename Args>
Tensors fill(Args& args, const CpuCase& c, const oracle::Values& values, Outputs& outputs, const Tensors& initial) {
  Tensors inputs;
  oracle::visit_tensors(c.options.shape, args, [&](const oracle::Tensor& tensor, auto& pointer) {
    const mhcjit_dtype dtype = oracle::dtype_of(tensor.name, c.dtypes());
    if (tensor.use == oracle::Use::output) {
      const std::size_t bytes = static_cast<std::size_t>(tensor.count) * oracle::bytes_of(dtype);
      oracle::point(pointer, outputs.add(tensor.name, bytes, initial));
    } else if (const auto given = values.at(tensor.name); !given.empty()) {
      oracle::point(pointer, (inputs[tensor.name] = oracle::to_storage(given, dtype)).data());
    }
  });
  args.workspace = outputs.add("workspace", args.workspace_bytes);
  return inputs;
}

}  // namespace

Tensors run_forward(const CpuCase& c, unsigned threads, const std::set<std::string>& unwanted) {
  const codegen::Problem problem = c.problem(codegen::pre_forward);
  Outputs outputs(unwanted);
  mhcjit_pre_forward_args args = {};
  args.T = c.options.shape.T;
  args.norm_eps = static_cast<float>(c.inputs.norm_eps);
  args.hc_eps = static_cast<float>(c.inputs.hc_eps);
  args.post_mult = static_cast<float>(c.inputs.post_mult);
  args.workspace_bytes = find_implementation(*problem.op)->workspace_bytes(problem, args.T);
  const Tensors inputs = fill(args, c, oracle::values_of(c.inputs), outputs, {});
  pre_forward(problem, args, threads);
  return outputs.take();
}

Tensors run_backward(const CpuCase& c, const Tensors& saved, unsigned threads, const BackwardOptions& options) {
  const codegen::Problem problem = c.problem(codegen::pre_backward);
  Outputs outputs(options.unwanted);
  mhcjit_pre_backward_args args = {};
  args.T = c.options.shape.T;
  args.hc_eps = static_cast<float>(c.inputs.hc_eps);
  args.post_mult = static_cast<float>(c.inputs.post_mult);
  args.accumulate_dx = options.accumulate_dx ? 1 : 0;
  args.accumulate_parameters = options.accumulate_parameters ? 1 : 0;
  args.workspace_bytes = find_implementation(*problem.op)->workspace_bytes(problem, args.T);
  const oracle::Forward forward =
      oracle::saved_by_forward([&](const char* tensor) { return values_of(c, saved, tensor); });
  const Tensors inputs = fill(args, c, oracle::values_of(c.inputs, forward, c.gradients), outputs, options.initial);
  pre_backward(problem, args, threads);
  return outputs.take();
}

oracle::Backward oracle_backward(const CpuCase& c) {
  const oracle::Forward forward = oracle::pre_forward(c.options.shape, c.inputs);
  return oracle::pre_backward(c.options.shape, c.inputs, forward, c.gradients);
}

std::vector<double> values_of(const CpuCase& c, const Tensors& tensors, const std::string& name) {
  const mhcjit_dtype dtype = oracle::dtype_of(name, c.dtypes());
  const Bytes& bytes = tensors.at(name);
  return oracle::from_storage(bytes.data(), static_cast<std::int64_t>(bytes.size() / oracle::bytes_of(dtype)), dtype);
}

template <typename Reference>
void expect_right(const CpuCase& c, const Tensors& tensors, const Reference& reference) {
  for (const oracle::Reference& output : oracle::outputs_of(c.options.shape, reference)) {
    const oracle::Comparison comparison =
        oracle::compare(output, values_of(c, tensors, std::string(output.name)), c.dtypes());
    EXPECT_TRUE(comparison.ok()) << output.name << " of " << codegen::to_string(c.problem(codegen::pre_backward))
                                 << " T=" << c.options.shape.T << " x_std=" << c.options.x_std
                                 << " alpha[0]=" << c.options.alpha[0] << ": " << to_string(comparison);
  }
}
template void expect_right(const CpuCase& c, const Tensors& tensors, const oracle::Forward& reference);
template void expect_right(const CpuCase& c, const Tensors& tensors, const oracle::Backward& reference);

}  // namespace mhcjit::runtime::cpu
