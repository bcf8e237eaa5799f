#include "tests/runtime/cpu/cpu_case.h"

namespace mhcjit::runtime::cpu {
namespace {

const float* floats(const Bytes& bytes) { return reinterpret_cast<const float*>(bytes.data()); }
const float* floats_or_null(const Bytes& bytes) { return bytes.empty() ? nullptr : floats(bytes); }

std::vector<double> slice(const std::vector<double>& values, std::int64_t first, std::int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

}  // namespace

codegen::Problem CpuCase::problem(codegen::Op op) const {
  constexpr codegen::DType dtypes[] = {codegen::DType::bf16, codegen::DType::fp16, codegen::DType::fp32};
  codegen::Problem result;
  result.op = op;
  result.n = options.shape.n;
  result.d = options.shape.D;
  result.dtype = dtypes[options.dtype];
  result.has_gamma = options.shape.has_gamma;
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

Tensors run_forward(const CpuCase& c, unsigned threads, const std::set<std::string>& unwanted) {
  const oracle::Shape& shape = c.options.shape;
  const Bytes x = oracle::to_storage(c.inputs.x, c.options.dtype);
  const Bytes phi = oracle::to_storage(c.inputs.phi, MHCJIT_FP32);
  const Bytes alpha = oracle::to_storage(c.inputs.alpha, MHCJIT_FP32);
  const Bytes bias = oracle::to_storage(c.inputs.bias, MHCJIT_FP32);
  const Bytes gamma = oracle::to_storage(c.inputs.gamma, MHCJIT_FP32);
  const codegen::Problem problem = c.problem(codegen::Op::pre_forward);
  Outputs outputs(unwanted);
  mhcjit_pre_forward_args args = {};
  args.x = x.data();
  args.phi = floats(phi);
  args.alpha = floats(alpha);
  args.bias = floats(bias);
  args.gamma = floats_or_null(gamma);
  args.T = shape.T;
  args.norm_eps = static_cast<float>(c.inputs.norm_eps);
  args.hc_eps = static_cast<float>(c.inputs.hc_eps);
  args.h_in = outputs.add("h_in", static_cast<std::size_t>(shape.T * shape.D) * oracle::bytes_of(c.options.dtype));
  args.h_post = outputs.add_floats("h_post", shape.T * shape.n);
  args.h_res = outputs.add_floats("h_res", shape.T * shape.n * shape.n);
  args.inv_rms = outputs.add_floats("inv_rms", shape.T);
  args.h_mix = outputs.add_floats("h_mix", shape.T * shape.rows());
  args.h_pre = outputs.add_floats("h_pre", shape.T * shape.n);
  args.workspace_bytes = workspace_bytes(problem, shape.T);
  args.workspace = outputs.add("workspace", args.workspace_bytes);
  pre_forward(problem, args, threads);
  return outputs.take();
}

Tensors run_backward(const CpuCase& c, const Tensors& saved, unsigned threads, const BackwardOptions& options) {
  const oracle::Shape& shape = c.options.shape;
  const Bytes x = oracle::to_storage(c.inputs.x, c.options.dtype);
  const Bytes phi = oracle::to_storage(c.inputs.phi, MHCJIT_FP32);
  const Bytes alpha = oracle::to_storage(c.inputs.alpha, MHCJIT_FP32);
  const Bytes gamma = oracle::to_storage(c.inputs.gamma, MHCJIT_FP32);
  const Bytes dh_in = oracle::to_storage(c.gradients.dh_in, c.options.dtype);
  const Bytes dh_post = oracle::to_storage(c.gradients.dh_post, MHCJIT_FP32);
  const Bytes dh_res = oracle::to_storage(c.gradients.dh_res, MHCJIT_FP32);
  const codegen::Problem problem = c.problem(codegen::Op::pre_backward);
  Outputs outputs(options.unwanted);
  mhcjit_pre_backward_args args = {};
  args.x = x.data();
  args.phi = floats(phi);
  args.alpha = floats(alpha);
  args.gamma = floats_or_null(gamma);
  args.inv_rms = floats(saved.at("inv_rms"));
  args.h_mix = floats(saved.at("h_mix"));
  args.h_pre = floats(saved.at("h_pre"));
  args.h_post = floats(saved.at("h_post"));
  args.dh_in = dh_in.empty() ? nullptr : dh_in.data();
  args.dh_post = floats_or_null(dh_post);
  args.dh_res = floats_or_null(dh_res);
  args.T = shape.T;
  args.hc_eps = static_cast<float>(c.inputs.hc_eps);
  args.accumulate_dx = options.accumulate_dx ? 1 : 0;
  args.accumulate_parameters = options.accumulate_parameters ? 1 : 0;
  args.dx = outputs.add("dx", x.size(), options.initial);
  args.dphi = outputs.add_floats("dphi", shape.rows() * shape.columns(), options.initial);
  if (shape.has_gamma) args.dgamma = outputs.add_floats("dgamma", shape.columns(), options.initial);
  args.dalpha = outputs.add_floats("dalpha", 3, options.initial);
  args.dbias = outputs.add_floats("dbias", shape.rows(), options.initial);
  args.workspace_bytes = workspace_bytes(problem, shape.T);
  args.workspace = outputs.add("workspace", args.workspace_bytes);
  pre_backward(problem, args, threads);
  return outputs.take();
}

oracle::Backward oracle_backward(const CpuCase& c) {
  const oracle::Forward forward = oracle::pre_forward(c.options.shape, c.inputs);
  return oracle::pre_backward(c.options.shape, c.inputs, forward, c.gradients);
}

mhcjit_dtype dtype_of(const CpuCase& c, const std::string& name) {
  return name == "h_in" || name == "dx" ? c.options.dtype : MHCJIT_FP32;
}

std::vector<double> values_of(const CpuCase& c, const Tensors& tensors, const std::string& name) {
  const mhcjit_dtype dtype = dtype_of(c, name);
  const Bytes& bytes = tensors.at(name);
  return oracle::from_storage(bytes.data(), static_cast<std::int64_t>(bytes.size() / oracle::bytes_of(dtype)), dtype);
}

void expect_within_bound(const CpuCase& c, const Tensors& tensors, const std::string& name,
                         const std::vector<double>& reference) {
  EXPECT_LE(oracle::normalised_error(reference, values_of(c, tensors, name)),
            oracle::error_bound(name, c.options.dtype).value())
      << name << " of " << codegen::to_string(c.problem(codegen::Op::pre_backward)) << " T=" << c.options.shape.T
      << " x_std=" << c.options.x_std << " alpha[0]=" << c.options.alpha[0];
}

void expect_within_bounds(const CpuCase& c, const Tensors& tensors, const oracle::Forward& reference) {
  expect_within_bound(c, tensors, "h_in", reference.h_in);
  expect_within_bound(c, tensors, "h_post", reference.h_post);
  expect_within_bound(c, tensors, "h_res", reference.h_res);
  expect_within_bound(c, tensors, "inv_rms", reference.inv_rms);
  expect_within_bound(c, tensors, "h_mix", reference.h_mix);
  expect_within_bound(c, tensors, "h_pre", reference.h_pre);
}

void expect_within_bounds(const CpuCase& c, const Tensors& tensors, const oracle::Backward& reference) {
  expect_within_bound(c, tensors, "dx", reference.dx);
  expect_within_bound(c, tensors, "dphi", reference.dphi);
  if (c.options.shape.has_gamma) expect_within_bound(c, tensors, "dgamma", reference.dgamma);
  expect_within_bound(c, tensors, "dalpha", reference.dalpha);
  expect_within_bound(c, tensors, "dbias", reference.dbias);
}

}  // namespace mhcjit::runtime::cpu
