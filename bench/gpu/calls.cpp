#include "bench/gpu/calls.h"

#include <algorithm>

#include <fmt/format.h>

#include "oracle/storage.h"

namespace mhcjit::gpu {
namespace {

bool is_element(std::string_view tensor) {
  return tensor == "x" || tensor == "h_in" || tensor == "dh_in" || tensor == "dx";
}

// What mhcjit.h asks of a pointer.
std::size_t required_alignment(std::string_view tensor, const Case& item) {
  if (tensor == "workspace") return 16;
  const bool is_row_of_phi = tensor == "phi" || tensor == "gamma" || tensor == "dphi" || tensor == "dgamma";
  if (!is_element(tensor) && !is_row_of_phi) return 4;
  const auto row_bytes =
      static_cast<std::size_t>(item.shape().D) * oracle::bytes_of(dtype_of(tensor, item.random.dtype));
  return std::min<std::size_t>(row_bytes & (~row_bytes + 1), 16);
}

std::size_t alignment_of(std::string_view tensor, const Case& item) {
  return std::max(required_alignment(tensor, item), item.least_alignment);
}

}  // namespace

std::string to_string(const Case& item) {
  constexpr const char* dtype_names[] = {"bf16", "fp16", "fp32"};
  const oracle::Shape& shape = item.shape();
  return fmt::format("T={} n={} D={} {}{}{} x_std={} alpha[0]={} seed={}", shape.T, shape.n, shape.D,
                     dtype_names[item.random.dtype], shape.has_gamma ? " gamma" : "",
                     item.batch_invariant ? " batch_invariant" : "", item.random.x_std, item.random.alpha[0],
                     item.random.seed);
}

mhcjit_problem problem_of(const Case& item, mhcjit_op op) {
  return {op,
          item.shape().n,
          item.shape().D,
          item.random.dtype,
          item.shape().has_gamma ? 1 : 0,
          item.batch_invariant ? 1 : 0};
}

mhcjit_dtype dtype_of(std::string_view tensor, mhcjit_dtype x_dtype) {
  return is_element(tensor) ? x_dtype : MHCJIT_FP32;
}

void Call::poison(unsigned char byte) const {
  for (const auto& [tensor, use] : uses_)
    if (use == Use::output || use == Use::workspace) buffer(tensor).fill(byte);
}

Tensors Call::outputs() const {
  Tensors outputs;
  for (const auto& [tensor, use] : uses_)
    if (use == Use::output || use == Use::accumulated) outputs[tensor] = buffer(tensor).download();
  return outputs;
}

std::string Call::damaged() const {
  for (const auto& [tensor, buffer] : buffers_)
    if (!buffer.intact()) return tensor;
  return "";
}

std::vector<double> Call::rows_of(std::string_view tensor, std::span<const std::int64_t> tokens) const {
  const std::size_t row_bytes = buffer(tensor).size() / static_cast<std::size_t>(case_.shape().T);
  std::vector<double> values;
  for (const std::int64_t token : tokens) {
    const std::vector<double> row = values_in(tensor, static_cast<std::size_t>(token) * row_bytes, row_bytes);
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

std::vector<double> Call::values_of(std::string_view tensor) const {
  return values_in(tensor, 0, buffer(tensor).size());
}

std::vector<double> Call::values_in(std::string_view tensor, std::size_t offset, std::size_t bytes) const {
  const mhcjit_dtype dtype = dtype_of(tensor, case_.random.dtype);
  const std::vector<std::byte> storage = buffer(tensor).download(offset, bytes);
  return oracle::from_storage(storage.data(), static_cast<std::int64_t>(bytes / oracle::bytes_of(dtype)), dtype);
}

void* Call::add(const char* tensor, std::int64_t count, Use use) {
  const std::size_t bytes = static_cast<std::size_t>(count) * oracle::bytes_of(dtype_of(tensor, case_.random.dtype));
  uses_.emplace(tensor, use);
  return buffers_.try_emplace(tensor, gpu_, bytes, alignment_of(tensor, case_)).first->second.as();
}

void* Call::add_input(const char* tensor, const std::vector<double>& values) {
  void* address = add(tensor, static_cast<std::int64_t>(values.size()), Use::input);
  buffer(tensor).upload(oracle::to_storage(values, dtype_of(tensor, case_.random.dtype)));
  return address;
}

void* Call::add_workspace(std::size_t& bytes) {
  require(mhcjit_workspace_bytes(op_, case_.shape().T, &bytes), "mhcjit_workspace_bytes");
  uses_.emplace("workspace", Use::workspace);
  return buffers_.try_emplace("workspace", gpu_, bytes, alignment_of("workspace", case_)).first->second.as();
}

ForwardCall::ForwardCall(const Gpu& gpu, const Case& item, const mhcjit_operator* op, const oracle::Inputs& inputs)
    : Call(gpu, item, op) {
  const oracle::Shape& shape = item.shape();
  const auto output = [&](const char* tensor, std::int64_t count) {
    return static_cast<float*>(add(tensor, count, Use::output));
  };
  const auto input = [&](const char* tensor, const std::vector<double>& values) {
    return static_cast<const float*>(add_input(tensor, values));
  };
  args.x = inputs.x.empty() ? add("x", shape.T * shape.columns(), Use::input) : add_input("x", inputs.x);
  args.phi = input("phi", inputs.phi);
  args.alpha = input("alpha", inputs.alpha);
  args.bias = input("bias", inputs.bias);
  if (shape.has_gamma) args.gamma = input("gamma", inputs.gamma);
  args.T = shape.T;
  args.norm_eps = static_cast<float>(inputs.norm_eps);
  args.hc_eps = static_cast<float>(inputs.hc_eps);
  args.h_in = output("h_in", shape.T * shape.D);
  args.h_post = output("h_post", shape.T * shape.n);
  args.h_res = output("h_res", shape.T * shape.n * shape.n);
  args.inv_rms = output("inv_rms", shape.T);
  args.h_mix = output("h_mix", shape.T * shape.rows());
  args.h_pre = output("h_pre", shape.T * shape.n);
  args.workspace = add_workspace(args.workspace_bytes);
}

mhcjit_status ForwardCall::run_overlapped(CUstream stream) const {
  mhcjit_pre_forward_args overlapped = args;
  overlapped.overlap_previous = 1;
  return mhcjit_pre_forward(op_, &overlapped, stream);
}

BackwardCall::BackwardCall(const ForwardCall& forward, const Gpu& gpu, const Case& item, const mhcjit_operator* op,
                           const oracle::OutputGradients& gradients, const BackwardOptions& options)
    : Call(gpu, item, op) {
  const oracle::Shape& shape = item.shape();
  const auto gradient = [&](const char* tensor, const std::vector<double>& values, std::int64_t count) {
    if (options.gradients_by_caller) return static_cast<const float*>(add(tensor, count, Use::input));
    return values.empty() ? nullptr : static_cast<const float*>(add_input(tensor, values));
  };
  const auto parameter = [&](const char* tensor, std::int64_t count) {
    return static_cast<float*>(add(tensor, count, options.accumulate_parameters ? Use::accumulated : Use::output));
  };
  args.x = forward.args.x;
  args.phi = forward.args.phi;
  args.alpha = forward.args.alpha;
  args.gamma = forward.args.gamma;
  args.inv_rms = forward.args.inv_rms;
  args.h_mix = forward.args.h_mix;
  args.h_pre = forward.args.h_pre;
  args.h_post = forward.args.h_post;
  args.dh_in = gradient("dh_in", gradients.dh_in, shape.T * shape.D);
  args.dh_post = gradient("dh_post", gradients.dh_post, shape.T * shape.n);
  args.dh_res = gradient("dh_res", gradients.dh_res, shape.T * shape.n * shape.n);
  args.T = shape.T;
  args.hc_eps = forward.args.hc_eps;
  args.accumulate_dx = options.accumulate_dx ? 1 : 0;
  args.accumulate_parameters = options.accumulate_parameters ? 1 : 0;
  args.dx = add("dx", shape.T * shape.columns(), options.accumulate_dx ? Use::accumulated : Use::output);
  args.dphi = parameter("dphi", shape.rows() * shape.columns());
  if (shape.has_gamma) args.dgamma = parameter("dgamma", shape.columns());
  args.dalpha = parameter("dalpha", 3);
  args.dbias = parameter("dbias", shape.rows());
  args.workspace = add_workspace(args.workspace_bytes);
}

}  // namespace mhcjit::gpu
