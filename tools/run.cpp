#include <cmath>
#include <limits>

#include "tools/check.h"
#include "tools/command.h"
#include "tools/device_tensor.h"
#include "tools/options.h"
#include "tools/run_inputs.h"
#include "tools/run_operator.h"
#include "tools/safetensors.h"
#include "tools/tensor_names.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand run("run", "run forward, and backward on request, on tensors of a safetensors file");
cl::opt<std::string> inputs_path("inputs", cl::desc("safetensors file with x, phi, alpha, bias, optional gamma"),
                                 cl::value_desc("FILE"), cl::sub(run));
cl::opt<std::string> outputs_path("outputs", cl::desc("safetensors file to write"), cl::value_desc("FILE"),
                                  cl::sub(run));
cl::opt<std::string> device("device", cl::desc("auto (default: cuda:0, else cpu), cpu or cuda:K"),
                            cl::value_desc("DEVICE"), cl::init("auto"), cl::sub(run));
cl::opt<bool> backward("backward", cl::desc("also compute the gradients from dh_in, dh_post, dh_res"), cl::sub(run));
cl::opt<bool> fp32_dx("fp32-dx", cl::desc("dx is fp32 whatever x's dtype is; with --backward"), cl::sub(run));
cl::opt<bool> check("check", cl::desc("compare every output with float64, exit 1 beyond a bound"), cl::sub(run));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(run));
cl::opt<std::string> norm_eps("norm-eps", cl::desc("added to the mean square of x, default 1e-6"),
                              cl::value_desc("EPS"), cl::init("1e-6"), cl::sub(run));
cl::opt<std::string> hc_eps("hc-eps", cl::desc("added to h_pre, default 1e-6"), cl::value_desc("EPS"), cl::init("1e-6"),
                            cl::sub(run));
cl::opt<std::string> post_mult("post-mult", cl::desc("factor of h_post, default 2"), cl::value_desc("FACTOR"),
                               cl::init("2"), cl::sub(run));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(run));

llvm::Expected<float> parse_fp32(llvm::StringRef option, llvm::StringRef text, float least) {
  llvm::Expected<double> value = parse_number(option, text, least);
  if (!value) return value.takeError();
  const auto narrowed = static_cast<float>(*value);
  if (!std::isfinite(narrowed))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: a number that fp32 holds", option.str(),
                      text.str());
  return narrowed;
}

std::string device_name(Placement placement) {
  return placement ? fmt::format("cuda:{}", *placement) : std::string("cpu");
}

// JSON has no NaN and no infinity.
llvm::json::Value number_or_null(double value) {
  return std::isfinite(value) ? llvm::json::Value(value) : llvm::json::Value(nullptr);
}

void add_check(const std::vector<CheckRow>& rows, Report& report) {
  llvm::json::Array json_rows;
  report.text += fmt::format("{:<9}{:>12}{:>12}{:>12}{:>12}{:>12}\n", "tensor", "error", "bound", "worst row",
                             "its error", "bound");
  for (const auto& [tensor, comparison] : rows) {
    report.text += fmt::format("{:<9}{:>12.2e}{:>12.2e}", tensor, comparison.error, comparison.bound);
    llvm::json::Object row{
        {"tensor", tensor}, {"error", number_or_null(comparison.error)}, {"bound", comparison.bound}};
    if (comparison.worst_row >= 0) {
      report.text +=
          fmt::format("{:>12}{:>12.2e}{:>12.2e}", comparison.worst_row, comparison.row_error, comparison.row_bound());
      row["worst_row"] = comparison.worst_row;
      row["row_error"] = number_or_null(comparison.row_error);
      row["row_bound"] = comparison.row_bound();
    } else {
      report.text += fmt::format("{:>36}", "");
    }
    report.text += comparison.is_rounded ? "  ok, rounded\n" : comparison.ok() ? "  ok\n" : "  FAILED\n";
    row["rounded"] = comparison.is_rounded;
    row["ok"] = comparison.ok();
    json_rows.push_back(std::move(row));
    if (!comparison.ok()) report.exit_code = exit_failed;
  }
  report.json["check"] = std::move(json_rows);
}

llvm::Error write_outputs(const std::string& path, const std::vector<OutputTensor>& outputs) {
  std::vector<TensorToWrite> tensors;
  for (const OutputTensor& output : outputs)
    tensors.push_back({output.name, safetensors_name(output.dtype), output.shape, output.values.bytes()});
  return write_safetensors(path, tensors);
}

llvm::Expected<Report> run_run() {
  llvm::Expected<std::string> from = required("--inputs", inputs_path);
  if (!from) return from.takeError();
  llvm::Expected<std::string> to = required("--outputs", outputs_path);
  if (!to) return to.takeError();
  llvm::Expected<float> norm = parse_fp32("--norm-eps", norm_eps, 0);
  if (!norm) return norm.takeError();
  llvm::Expected<float> hc = parse_fp32("--hc-eps", hc_eps, 0);
  if (!hc) return hc.takeError();
  llvm::Expected<float> factor = parse_fp32("--post-mult", post_mult, std::numeric_limits<float>::lowest());
  if (!factor) return factor.takeError();
  if (fp32_dx && !backward)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--fp32-dx is given without --backward, allowed: with it");
  llvm::Expected<Placement> placement = open_device(device);
  if (!placement) return placement.takeError();

  llvm::Expected<SafetensorsFile> file = SafetensorsFile::open(*from);
  if (!file) return file.takeError();
  llvm::Expected<RunInputs> inputs = load_run_inputs(*file, backward);
  if (!inputs) return inputs.takeError();
  const std::string dtype(codegen::to_string(static_cast<codegen::DType>(inputs->dtype)));
  say(fmt::format("running on {}: T={} n={} D={} {}{}", device_name(*placement), inputs->T, inputs->n, inputs->d, dtype,
                  inputs->has_gamma() ? " gamma" : ""));

  const RunOptions options = {*placement, backward, *norm, *hc, *factor, cache_dir, fp32_dx};
  llvm::Expected<RunResult> result = run_operator(*inputs, options);
  if (!result) return result.takeError();

  Report report;
  report.json = llvm::json::Object{{"device", device_name(*placement)},
                                   {"T", inputs->T},
                                   {"n", inputs->n},
                                   {"d", inputs->d},
                                   {"dtype", dtype},
                                   {"gamma", inputs->has_gamma()},
                                   {"backward", backward.getValue()},
                                   {"fp32_dx", fp32_dx.getValue()},
                                   {"compiled", result->counters.misses},
                                   {"hits", result->counters.disk_hits},
                                   {"read_only_hits", result->counters.read_only_hits},
                                   {"remote_hits", result->counters.remote_hits},
                                   {"prepare_ms", result->prepare_ms}};
  if (check) add_check(check_outputs(*inputs, options, result->outputs), report);
  if (report.exit_code != exit_ok) {
    say(fmt::format("an output is beyond its bound, {} was not written", *to));
  } else {
    if (auto error = write_outputs(*to, result->outputs)) return error;
    report.text += fmt::format("wrote {} tensors to {}\n", result->outputs.size(), *to);
    report.json["outputs"] = *to;
  }
  report.json["ok"] = report.exit_code == exit_ok;
  return report;
}

}  // namespace

const Command& run_command() {
  static const Command command = {
      run, "--inputs FILE --outputs FILE [options]",
      "Reads x [T, n, D] or [B, S, n, D] (BF16, F16 or F32) and phi, alpha, bias and optional gamma (F32) as\n"
      "PyTorch writes them, and writes h_in, h_post, h_res, inv_rms, h_mix and h_pre; with --backward also\n"
      "dx, dphi, dgamma, dalpha and dbias from those of dh_in, dh_post and dh_res that the file has. dx has x's "
      "dtype,\n"
      "or F32 with --fp32-dx.\n"
      "--check measures each output as a whole and by its worst token's row; differences up to 2^-126 count as\n"
      "none, and an output of 16 bits that is the float64 result rounded is right.\n"
      "Nothing is written unless everything succeeded.",
      "  mhcjit make-inputs --t 512 --n 4 --d 1024 --dtype bf16 -o in.safetensors\n"
      "  mhcjit run --inputs in.safetensors --outputs out.safetensors\n"
      "  mhcjit run --inputs in.safetensors --outputs out.safetensors --device cpu --backward --check\n"
      "  mhcjit run --inputs in.safetensors --outputs out.safetensors --backward --check --json",
      run_run};
  return command;
}

}  // namespace mhcjit::tools
