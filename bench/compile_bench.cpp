// Measures the compile of each kernel of some operators, alone: an operator's kernels are compiled at the same time, so
// that it takes as long as its slowest kernel if there are cores for all. The compiler is $MHCJIT_NVRTC, or the one
// that the library finds.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <map>
#include <set>
#include <string>

#include "codegen/choose.h"
#include "codegen/operators.h"
#include "runtime/kernel_unit.h"
#include "runtime/nvrtc.h"
#include "runtime/nvrtc_location.h"
#include "runtime/settings.h"

namespace {

using namespace mhcjit;
using codegen::DType;

struct Shape {
  int n;
  std::int64_t d;
  DType dtype;
  bool has_gamma;
  codegen::Architecture architecture;
};

// The simplest problem, the usual one, and those whose kernels are largest.
constexpr Shape shapes[] = {
    {1, 64, DType::fp32, false, {9, 0, 'a'}},   {4, 4096, DType::bf16, false, {9, 0, 'a'}},
    {4, 7168, DType::bf16, false, {9, 0, 'a'}}, {4, 7168, DType::bf16, false, {10, 0, 'a'}},
    {6, 2560, DType::bf16, false, {9, 0, 'a'}}, {8, 2048, DType::bf16, false, {9, 0, 'a'}},
    {16, 4096, DType::bf16, true, {9, 0, 'a'}},
};

std::vector<codegen::Problem> problems() {
  std::vector<codegen::Problem> list;
  for (const codegen::Operator* op : codegen::operators())
    for (const Shape& shape : shapes)
      list.push_back({op, shape.n, shape.d, shape.dtype, shape.has_gamma, false, shape.architecture});
  return list;
}

void compile(benchmark::State& state, const runtime::Nvrtc& nvrtc, const runtime::CompileRequest& request) {
  std::size_t cubin_bytes = 0;
  for (auto _ : state) cubin_bytes = llvm::cantFail(nvrtc.compile(request)).cubin.size();
  state.counters["cubin_bytes"] = static_cast<double>(cubin_bytes);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  auto location = runtime::locate_nvrtc("", runtime::get_environment);
  auto nvrtc = location ? runtime::Nvrtc::load(*location) : llvm::Expected<const runtime::Nvrtc*>(location.takeError());
  if (!nvrtc) {
    fmt::print(stderr, "compile_bench: {}\n", llvm::toString(nvrtc.takeError()));
    return 1;
  }
  const auto compiler = llvm::cantFail(runtime::identify(*location));
  const auto templates = llvm::cantFail(runtime::load_templates(""));
  for (const codegen::Problem& problem : problems()) {
    std::set<std::string> seen;  // buckets share kernels
    std::map<std::string, int> numbers;
    for (const codegen::Bucket& bucket : llvm::cantFail(codegen::choose(problem)))
      for (const codegen::Kernel& kernel : bucket.plan->kernels()) {
        const runtime::CompileRequest request = runtime::compile_request(problem, kernel, *templates, compiler);
        if (!seen.insert(request.source).second) continue;
        // Plans of one family have kernels of one name.
        const std::string name = fmt::format("{}: {} {}", to_string(problem), kernel.name, ++numbers[kernel.name]);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [&nvrtc, request](benchmark::State& state) { compile(state, **nvrtc, request); })
            ->Unit(benchmark::kMillisecond)
            ->UseRealTime()
            ->Iterations(1);
      }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
