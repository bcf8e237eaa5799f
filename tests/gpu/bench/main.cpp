// gpu_bench: how fast the operators are on device 0, as JSON in a file and as a table on standard output. Exit codes:
// 0 measured and right, 1 failed or a result is wrong, 2 usage, 3 no GPU.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include "bench/launch_cost.h"
#include "bench/operators.h"

namespace {

using namespace mhcjit::gpu;

namespace cl = llvm::cl;
cl::OptionCategory options("gpu_bench");
cl::opt<std::string> results("results", cl::desc("JSON file to write"), cl::value_desc("file"), cl::cat(options));
cl::opt<std::string> commit("commit", cl::desc("Commit that this was built from, for the JSON"), cl::init("unknown"),
                            cl::cat(options));
cl::opt<bool> quick("quick", cl::desc("Fewer samples"), cl::cat(options));

constexpr BenchShape shapes[] = {{8192, 4096}, {8192, 7168}, {8192, 2560}, {2048, 1024}, {512, 256}, {64, 4096}};

llvm::json::Object json_of(const Timing& timing) {
  return llvm::json::Object{{"median_us", timing.median_us},
                            {"p10_us", timing.p10_us},
                            {"p90_us", timing.p90_us},
                            {"samples", timing.samples},
                            {"launches_per_sample", timing.launches_per_sample}};
}

llvm::json::Object json_of(const OperatorResult& result) {
  llvm::json::Object errors;
  // JSON has no NaN.
  for (const auto& [tensor, error] : result.errors) errors[tensor] = fmt::format("{:.3g}", error);
  return llvm::json::Object{{"op", result.op},
                            {"T", result.shape.T},
                            {"n", 4},
                            {"D", result.shape.D},
                            {"dtype", "bf16"},
                            {"gamma", false},
                            {"bytes", static_cast<std::int64_t>(result.bytes)},
                            {"floor_us", result.floor_us},
                            {"floor_ratio", result.floor_ratio()},
                            {"gigabytes_per_second", result.gigabytes_per_second()},
                            {"input_sets", result.input_sets},
                            {"stream", json_of(result.stream)},
                            {"graph", json_of(result.graph)},
                            {"warm", json_of(result.warm)},
                            {"errors", std::move(errors)},
                            {"errors_within_bounds", result.errors_within_bounds}};
}

void print_row(const OperatorResult& result) {
  const auto& [worst_tensor, worst] = *std::ranges::max_element(
      result.errors, {}, [](const auto& error) { return std::isnan(error.second) ? HUGE_VAL : error.second; });
  fmt::print("{:<13} {:>5} {:>5} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>9.2f} {:>6.2f} {:>7.0f}  {} {:.1e}{}\n",
             result.op, result.shape.T, result.shape.D, result.floor_us, result.stream.median_us, result.stream.p90_us,
             result.graph.median_us, result.warm.median_us, result.floor_ratio(), result.gigabytes_per_second(),
             worst_tensor, worst, result.errors_within_bounds ? "" : "  WRONG");
}

int bench(const Gpu& gpu) {
  const double seconds = quick ? 0.1 : 1.0;
  const LaunchCost cost = bench_launch_cost(gpu);
  const double copy_rate = copy_gigabytes_per_second(gpu, seconds);
  fmt::print("{}, {}, driver of CUDA {}, NVRTC {}, commit {}\n", gpu.name, gpu.architecture, gpu.driver_version,
             cost.nvrtc_version, commit.getValue());
  fmt::print("copy of 1 GiB: {:.0f} GB/s read plus written\n", copy_rate);
  fmt::print(
      "host time of a pre_forward: {:.0f} ns; of its {} kernels launched bare: {:.0f} ns; of a prepare that finds "
      "its operator: {:.0f} ns\n\n",
      cost.call_ns, cost.kernels, cost.raw_ns, cost.prepare_ns);
  fmt::print("{:<13} {:>5} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6} {:>7}  {}\n", "n=4 bf16", "T", "D", "floor us",
             "median us", "p90 us", "graph us", "warm us", "ratio", "GB/s", "largest error");

  llvm::json::Array measured;
  bool right = true;
  for (const BenchShape& shape : shapes) {
    for (const OperatorResult& result : bench_operators(gpu, shape, copy_rate, seconds)) {
      print_row(result);
      measured.push_back(json_of(result));
      right &= result.errors_within_bounds;
    }
  }
  if (!results.empty()) {
    std::error_code error;
    llvm::raw_fd_ostream file(results, error);
    if (!error) {
      file << llvm::formatv("{0:2}\n", llvm::json::Value(llvm::json::Object{
                                           {"device", gpu.name},
                                           {"architecture", gpu.architecture},
                                           {"driver", gpu.driver_version},
                                           {"nvrtc", cost.nvrtc_version},
                                           {"nvrtc_path", cost.nvrtc_path},
                                           {"mhcjit", mhcjit_version()},
                                           {"commit", commit.getValue()},
                                           {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
                                           {"l2_bytes", gpu.l2_bytes},
                                           {"copy_gigabytes_per_second", copy_rate},
                                           {"launch", llvm::json::Object{{"kernels", cost.kernels},
                                                                         {"call_ns", cost.call_ns},
                                                                         {"raw_ns", cost.raw_ns},
                                                                         {"prepare_ns", cost.prepare_ns}}},
                                           {"operators", std::move(measured)}}));
      file.close();
      error = file.error();
      file.clear_error();
    }
    if (error) {
      fmt::print(stderr, "gpu_bench: {} cannot be written: {}\n", results.getValue(), error.message());
      return 1;
    }
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  cl::HideUnrelatedOptions(options);
  // An unknown option ends the process with 1; everywhere else that is a failed measurement.
  if (!cl::ParseCommandLineOptions(argc, argv, "Measures the operators on device 0\n", &llvm::errs())) return 2;
  try {
    const Gpu* gpu = find_gpu();
    if (gpu == nullptr) {
      fmt::print(stderr, "gpu_bench: NOT RUN, NO GPU: {}\n", missing_gpu());
      return 3;
    }
    return bench(*gpu);
  } catch (const std::exception& failure) {
    fmt::print(stderr, "gpu_bench: {}\n", failure.what());
    return 1;
  }
}
