#include "oracle/random_inputs.h"
#include "oracle/storage.h"
#include "tools/command.h"
#include "tools/options.h"
#include "tools/safetensors.h"
#include "tools/tensor_names.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand make_inputs("make-inputs", "write realistic random inputs to a safetensors file");
cl::opt<std::string> t("t", cl::desc("tokens T, 0 to 2147483647"), cl::value_desc("T"), cl::sub(make_inputs));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16"), cl::value_desc("N"), cl::sub(make_inputs));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216"), cl::value_desc("D"), cl::sub(make_inputs));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16 or fp32"), cl::value_desc("DTYPE"),
                           cl::init("bf16"), cl::sub(make_inputs));
cl::opt<std::string> seed("seed", cl::desc("equal seeds give equal files, default 0"), cl::value_desc("SEED"),
                          cl::init("0"), cl::sub(make_inputs));
cl::opt<std::string> x_std("std", cl::desc("standard deviation of x, default 1.0"), cl::value_desc("STD"),
                           cl::init("1.0"), cl::sub(make_inputs));
cl::opt<bool> gamma("gamma", cl::desc("with gamma"), cl::sub(make_inputs));
cl::opt<std::string> output("o", cl::desc("file to write"), cl::value_desc("FILE"), cl::sub(make_inputs));

llvm::Expected<oracle::RandomOptions> parse_options() {
  llvm::Expected<std::int64_t> tokens = parse_integer("--t", t, 0, codegen::max_tokens);
  if (!tokens) return tokens.takeError();
  llvm::Expected<std::int64_t> streams = parse_integer("--n", n, 1, codegen::max_n);
  if (!streams) return streams.takeError();
  llvm::Expected<std::int64_t> size = parse_integer("--d", d, 1, codegen::max_d);
  if (!size) return size.takeError();
  llvm::Expected<codegen::DType> x_dtype = codegen::parse_dtype(dtype);
  if (!x_dtype) return x_dtype.takeError();
  llvm::Expected<std::int64_t> number = parse_integer("--seed", seed, 0, std::numeric_limits<std::int64_t>::max());
  if (!number) return number.takeError();
  llvm::Expected<double> deviation = parse_number("--std", x_std, 0);
  if (!deviation) return deviation.takeError();
  oracle::RandomOptions options;
  options.shape = {*tokens, static_cast<int>(*streams), *size, gamma};
  options.dtype = static_cast<mhcjit_dtype>(*x_dtype);
  options.seed = static_cast<std::uint64_t>(*number);
  options.x_std = *deviation;
  return options;
}

llvm::Expected<Report> run() {
  llvm::Expected<oracle::RandomOptions> options = parse_options();
  if (!options) return options.takeError();
  llvm::Expected<std::string> path = required("-o", output);
  if (!path) return path.takeError();

  const oracle::Shape& shape = options->shape;
  const std::int64_t m = shape.rows();
  oracle::Inputs inputs = oracle::random_inputs(*options);
  oracle::OutputGradients gradients = oracle::random_output_gradients(*options);
  std::vector<TensorToWrite> tensors;
  std::vector<std::vector<std::byte>> storage;
  storage.reserve(8);
  const auto add = [&](const char* name, std::vector<double>& values, mhcjit_dtype stored,
                       std::vector<std::int64_t> dimensions) {
    storage.push_back(oracle::to_storage(values, stored));
    std::vector<double>().swap(values);
    tensors.push_back({name, safetensors_name(stored), std::move(dimensions), storage.back()});
  };
  add("x", inputs.x, options->dtype, {shape.T, shape.n, shape.D});
  add("phi", inputs.phi, MHCJIT_FP32, {m, shape.columns()});
  add("alpha", inputs.alpha, MHCJIT_FP32, {3});
  add("bias", inputs.bias, MHCJIT_FP32, {m});
  if (gamma) add("gamma", inputs.gamma, MHCJIT_FP32, {shape.n, shape.D});
  add("dh_in", gradients.dh_in, options->dtype, {shape.T, shape.D});
  add("dh_post", gradients.dh_post, MHCJIT_FP32, {shape.T, shape.n});
  add("dh_res", gradients.dh_res, MHCJIT_FP32, {shape.T, shape.n, shape.n});
  if (auto error = write_safetensors(*path, tensors)) return error;
  say(fmt::format("wrote {} tensors to {}", tensors.size(), *path));
  return Report{};
}

}  // namespace

const Command& make_inputs_command() {
  static const Command command = {
      make_inputs, "--t T --n N --d D -o FILE [--dtype DTYPE] [--seed SEED] [--std STD] [--gamma]",
      "Writes x [T, n, D], phi, alpha, bias, gamma on request, and the gradients dh_in, dh_post and\n"
      "dh_res that 'mhcjit run --backward' needs.",
      "  mhcjit make-inputs --t 512 --n 4 --d 1024 --dtype bf16 --seed 1 --std 1.0 -o in.safetensors\n"
      "  mhcjit make-inputs --t 7 --n 2 --d 127 --dtype fp32 --gamma -o small.safetensors",
      run};
  return command;
}

}  // namespace mhcjit::tools
