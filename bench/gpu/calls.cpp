#include "bench/gpu/calls.h"

#include <algorithm>

#include <fmt/format.h>

#include "codegen/operators.h"
#include "oracle/tensors.h"

namespace mhcjit::gpu {
namespace {

// mhcjit.h asks for this alignment of a pointer.
std::size_t required_alignment(std::string_view tensor, const Case& item) {
  if (tensor == "workspace") return 16;
  const bool is_row_of_x = tensor == "x" || tensor == "h_in" || tensor == "dh_in" || tensor == "dx";
  const bool is_row_of_phi = tensor == "phi" || tensor == "gamma" || tensor == "dphi" || tensor == "dgamma";
  if (!is_row_of_x && !is_row_of_phi) return 4;
  const auto row_bytes =
      static_cast<std::size_t>(item.shape().D) * oracle::bytes_of(oracle::dtype_of(tensor, item.dtypes()));
  return std::min<std::size_t>(row_bytes & (~row_bytes + 1), 16);
}

std::size_t alignment_of(std::string_view tensor, const Case& item) {
  return std::max(required_alignment(tensor, item), item.least_alignment);
}

}  // namespace

std::string to_string(const Case& item) {
  constexpr const char* dtype_names[] = {"bf16", "fp16", "fp32"};
  const oracle::Shape& shape = item.shape();
  return fmt::format("T={} n={} D={} {}{}{}{} x_std={} alpha[0]={} post_mult={} seed={}", shape.T, shape.n, shape.D,
                     dtype_names[item.random.dtype], shape.has_gamma ? " gamma" : "",
                     item.batch_invariant ? " batch_invariant" : "", item.fp32_dx ? " fp32_dx" : "", item.random.x_std,
                     item.random.alpha[0], item.random.post_mult, item.random.seed);
}

mhcjit_problem problem_of(const Case& item, mhcjit_op op) {
  const bool has_dx = llvm::cantFail(codegen::operator_of(op))->has_dtype_flag(&codegen::Problem::has_fp32_dx);
  return {.op = op,
          .n = item.shape().n,
          .d = item.shape().D,
          .dtype = item.random.dtype,
          .has_gamma = item.shape().has_gamma ? 1 : 0,
          .batch_invariant = item.batch_invariant ? 1 : 0,
          .fp32_dx = item.fp32_dx && has_dx ? 1 : 0};
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
  const mhcjit_dtype dtype = oracle::dtype_of(tensor, case_.dtypes());
  const std::vector<std::byte> storage = buffer(tensor).download(offset, bytes);
  return oracle::from_storage(storage.data(), static_cast<std::int64_t>(bytes / oracle::bytes_of(dtype)), dtype);
}

void* Call::add(const char* tensor, std::int64_t count, Use use) {
  const std::size_t bytes =
      static_cast<std::size_t>(count) * oracle::bytes_of(oracle::dtype_of(tensor, case_.dtypes()));
  uses_.emplace(tensor, use);
  return buffers_.try_emplace(tensor, gpu_, bytes, alignment_of(tensor, case_)).first->second.as();
}

void* Call::add_input(const char* tensor, std::span<const double> values) {
  void* address = add(tensor, static_cast<std::int64_t>(values.size()), Use::input);
  buffer(tensor).upload(oracle::to_storage(values, oracle::dtype_of(tensor, case_.dtypes())));
  return address;
}

void* Call::add_workspace(std::size_t& bytes) {
  require(mhcjit_workspace_bytes(op_, case_.shape().T, &bytes), "mhcjit_workspace_bytes");
  uses_.emplace("workspace", Use::workspace);
  return buffers_.try_emplace("workspace", gpu_, bytes, alignment_of("workspace", case_)).first->second.as();
}

}  // namespace mhcjit::gpu
