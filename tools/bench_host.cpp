#include "tools/bench_host.h"

#include <stdexcept>

#include <fmt/format.h>
#include <llvm/ADT/StringExtras.h>

#include "bench/host_costs.h"
#include "bench/statistics.h"
#include "codegen/operators.h"

namespace mhcjit::tools {
namespace {

using bench::FirstCall;

// One that models have, for any architecture.
const codegen::Problem problem = {codegen::operators().front(), 4, 4096, codegen::DType::bf16, false, false, {}};

double median(const std::vector<FirstCall>& calls, double FirstCall::* field) {
  std::vector<double> values;
  values.reserve(calls.size());
  for (const FirstCall& call : calls) values.push_back(call.*field);
  return bench::quantile(std::move(values), 0.5);
}

// Medians, each of its own.
llvm::json::Object json_of(const std::vector<FirstCall>& calls) {
  return llvm::json::Object{{"processes", static_cast<std::int64_t>(calls.size())},
                            {"open_device_ms", number(median(calls, &FirstCall::open_device_ms))},
                            {"first_call_ms", number(median(calls, &FirstCall::first_call_ms))},
                            {"prepare_ms", number(median(calls, &FirstCall::prepare_ms))},
                            {"compile_ms", number(median(calls, &FirstCall::compile_ms))},
                            {"load_ms", number(median(calls, &FirstCall::load_ms))}};
}

llvm::json::Object json_of(const bench::FirstCalls& calls) {
  return llvm::json::Object{{"cold_cache", json_of(calls.cold)}, {"warm_cache", json_of(calls.warm)}};
}

std::string text_of(const bench::FirstCalls& calls) {
  return fmt::format(
      "first call of a process, its device open: {:.0f} ms with an empty cache folder, {:.1f} ms with a warm one; "
      "opening the device: {:.0f} ms\n",
      median(calls.cold, &FirstCall::first_call_ms), median(calls.warm, &FirstCall::first_call_ms),
      median(calls.warm, &FirstCall::open_device_ms));
}

void add(BenchRow& row, const bench::HostCosts& costs) {
  row.json["launch"] = llvm::json::Object{{"kernels", costs.kernels},
                                          {"call_us", number(costs.call_us)},
                                          {"raw_launch_us", number(costs.raw_launch_us)},
                                          {"prepare_us", number(costs.prepare_us)}};
  row.json["load"] = llvm::json::Object{{"cubin_bytes", static_cast<std::int64_t>(costs.cubin_bytes)},
                                        {"load_us", number(costs.load_us)}};
  row.text += fmt::format(
      "host time of a call: {:.2f} us; of its {} kernels launched bare: {:.2f} us; of a prepare that finds its "
      "operator: {:.2f} us\nloading a cubin of {} bytes: {:.0f} us\n",
      costs.call_us, costs.kernels, costs.raw_launch_us, costs.prepare_us, costs.cubin_bytes, costs.load_us);
}

void add_failure(BenchRow& row, const char* field, const std::string& failure) {
  row.ok = false;
  row.json[field] = llvm::json::Object{{"failure", failure}};
  row.text += fmt::format("{} FAILED: {}\n", field, failure);
}

}  // namespace

FirstCallsOrFailure measure_first_calls(int repeats) {
  auto calls = bench::bench_first_calls(problem, repeats);
  if (!calls) return {{}, take_failure(calls.takeError())};
  return {std::move(*calls), {}};
}

BenchRow measure_host(const gpu::Gpu& gpu, mhcjit_engine* engine, const FirstCallsOrFailure& first_calls) {
  BenchRow row = {llvm::json::Object{{"problem", fmt::format("{} n=4 D=4096 bf16 T=1", problem.op->name)}}, "", true};
  if (first_calls.failure.status == MHCJIT_SUCCESS) {
    row.json["first_call"] = json_of(first_calls.calls);
    row.text += text_of(first_calls.calls);
  } else {
    add_failure(row, "first_call", first_calls.failure.text);
  }
  try {
    add(row, bench::bench_host_costs(gpu, engine, problem));
  } catch (const std::runtime_error& failure) {
    add_failure(row, "launch", failure.what());
  }
  for (const llvm::StringRef line : llvm::split(llvm::StringRef(row.text).rtrim(), '\n'))
    row.tsv_lines += fmt::format("# {}\n", std::string_view(line));
  return row;
}

}  // namespace mhcjit::tools
