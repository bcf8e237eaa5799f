#include "tools/run_inputs.h"

#include "codegen/problem.h"
#include "support/error.h"
#include "tools/tensor_names.h"

namespace mhcjit::tools {
namespace {

std::string text_of(llvm::ArrayRef<std::int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

llvm::Expected<const TensorInfo*> find_required(const SafetensorsFile& file, llvm::StringRef name) {
  if (const TensorInfo* tensor = file.find(name)) return tensor;
  std::vector<std::string> names;
  for (const TensorInfo& tensor : file.tensors())
    if (names.size() < 16) names.push_back(tensor.name);
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: tensor '{}' is missing, the file has: {}", file.path(), name.str(),
                    names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

// Reads the problem's shape and dtype from x.
llvm::Error read_problem(const SafetensorsFile& file, const TensorInfo& x, RunInputs& inputs) {
  const auto fault = [&](const std::string& text) {
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: tensor 'x': {}", file.path(), text);
  };
  const std::optional<mhcjit_dtype> dtype = dtype_from_safetensors(x.dtype);
  if (!dtype) return fault(fmt::format("dtype is '{}', allowed: BF16, F16, F32", x.dtype));
  if (x.shape.size() != 3 && x.shape.size() != 4)
    return fault(fmt::format("shape is {}, allowed: [T, n, D] or [B, S, n, D]", text_of(x.shape)));
  const std::int64_t n = x.shape[x.shape.size() - 2];
  const std::int64_t d = x.shape.back();
  if (n < 1 || n > codegen::max_n)
    return fault(fmt::format("shape is {}, its n is {}, allowed: 1 to {}", text_of(x.shape), n, codegen::max_n));
  if (d < 1 || d > codegen::max_d)
    return fault(fmt::format("shape is {}, its D is {}, allowed: 1 to {}", text_of(x.shape), d, codegen::max_d));
  inputs.leading.assign(x.shape.begin(), x.shape.end() - 2);
  inputs.T = 1;
  for (const std::int64_t size : inputs.leading)
    if (__builtin_mul_overflow(inputs.T, size, &inputs.T) || inputs.T > codegen::max_tokens)
      return fault(fmt::format("shape is {}, allowed: at most {} tokens", text_of(x.shape), codegen::max_tokens));
  inputs.n = static_cast<std::int32_t>(n);
  inputs.d = d;
  inputs.dtype = *dtype;
  return llvm::Error::success();
}

// Reads a tensor that must have this dtype and shape; `meaning` spells the shape in the operator's letters.
llvm::Error read_tensor(const SafetensorsFile& file, const TensorInfo& tensor, mhcjit_dtype dtype,
                        const std::vector<std::int64_t>& shape, const char* meaning, HostBuffer& buffer) {
  if (tensor.dtype != safetensors_name(dtype))
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: tensor '{}': dtype is '{}', allowed: {}", file.path(), tensor.name,
                      tensor.dtype, safetensors_name(dtype));
  if (tensor.shape != shape)
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: tensor '{}': shape is {}, expected: {}, that is {}", file.path(),
                      tensor.name, text_of(tensor.shape), text_of(shape), meaning);
  llvm::Expected<HostBuffer> bytes = file.read(tensor);
  if (!bytes) return bytes.takeError();
  buffer = std::move(*bytes);
  return llvm::Error::success();
}

}  // namespace

std::vector<std::int64_t> RunInputs::per_token(std::vector<std::int64_t> trailing) const {
  trailing.insert(trailing.begin(), leading.begin(), leading.end());
  return trailing;
}

llvm::Expected<RunInputs> load_run_inputs(const SafetensorsFile& file, bool backward) {
  RunInputs inputs;
  llvm::Expected<const TensorInfo*> x = find_required(file, "x");
  if (!x) return x.takeError();
  if (auto error = read_problem(file, **x, inputs)) return error;

  const std::int64_t n = inputs.n;
  struct Wanted {
    const char* name;
    mhcjit_dtype dtype;
    std::vector<std::int64_t> shape;
    const char* meaning;
    bool optional;
    HostBuffer& buffer;
  };
  std::vector<Wanted> all = {
      {"phi", MHCJIT_FP32, {inputs.rows(), inputs.columns()}, "[n*n + 2n, n*D]", false, inputs.phi},
      {"alpha", MHCJIT_FP32, {3}, "the scales of pre, post and res", false, inputs.alpha},
      {"bias", MHCJIT_FP32, {inputs.rows()}, "[n*n + 2n]", false, inputs.bias},
      {"gamma", MHCJIT_FP32, {n, inputs.d}, "[n, D]", true, inputs.gamma},
  };
  if (backward) {
    all.push_back(
        {"dh_in", inputs.dtype, inputs.per_token({inputs.d}), "x's leading dimensions and [D]", true, inputs.dh_in});
    all.push_back(
        {"dh_post", MHCJIT_FP32, inputs.per_token({n}), "x's leading dimensions and [n]", true, inputs.dh_post});
    all.push_back(
        {"dh_res", MHCJIT_FP32, inputs.per_token({n, n}), "x's leading dimensions and [n, n]", true, inputs.dh_res});
    if (file.find("dh_in") == nullptr && file.find("dh_post") == nullptr && file.find("dh_res") == nullptr)
      return make_error(MHCJIT_ERROR_BAD_FILE,
                        "{}: tensors 'dh_in', 'dh_post' and 'dh_res' are missing, backward needs at least one of them",
                        file.path());
  }
  // The small tensors first: a wrong one is found before x, which may be gigabytes, is read.
  for (const Wanted& wanted : all) {
    const TensorInfo* tensor = file.find(wanted.name);
    if (tensor == nullptr && wanted.optional) continue;
    if (tensor == nullptr) return find_required(file, wanted.name).takeError();
    if (auto error = read_tensor(file, *tensor, wanted.dtype, wanted.shape, wanted.meaning, wanted.buffer))
      return error;
  }
  if (auto error = read_tensor(file, **x, inputs.dtype, (*x)->shape, "x", inputs.x)) return error;
  return inputs;
}

}  // namespace mhcjit::tools
