#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>

#include "codegen/operators.h"
#include "tools/bench_chain.h"
#include "tools/bench_host.h"
#include "tools/bench_report.h"
#include "tools/engine.h"
#include "tools/interrupt.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand bench_options("bench", "measure the operators on device 0");
cl::opt<std::string> op("op", cl::desc(operator_help()), cl::value_desc("OP"), cl::sub(bench_options));
cl::opt<std::string> shapes("shapes", cl::desc("file of shapes with numbers of tokens; default: a list of its own"),
                            cl::value_desc("FILE"), cl::init("default"), cl::sub(bench_options));
cl::opt<std::string> chain("chain",
                           cl::desc("forward and backward of so many layers in one graph, in place of one call"),
                           cl::value_desc("LAYERS"), cl::sub(bench_options));
cl::opt<bool> host("host", cl::desc("the host's part: launch, kernel load, first call of a process"),
                   cl::sub(bench_options));
cl::opt<bool> quick("quick", cl::desc("fewer samples"), cl::sub(bench_options));
cl::opt<std::string> results("results", cl::desc("file for the results as TSV, a line a row, written after each shape"),
                             cl::value_desc("FILE"), cl::sub(bench_options));
cl::opt<std::string> commit("commit", cl::desc("commit that this was built from, for the results"),
                            cl::value_desc("COMMIT"), cl::init("unknown"), cl::sub(bench_options));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(bench_options));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(bench_options));

constexpr std::int64_t max_layers = 1000;

llvm::Error one_of_the_two(std::string_view option, std::string_view other) {
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is given with {}, allowed: one of the two", option, other);
}

// Layers of the chain; 0 where none is asked for.
llvm::Expected<std::int64_t> asked_layers() {
  if (chain.getNumOccurrences() == 0) return 0;
  if (!op.empty()) return one_of_the_two("--op", "--chain");
  return parse_integer("--chain", chain, 1, max_layers);
}

// The operator that reads what another saves.
const codegen::Operator& last_of_chain() {
  return **std::ranges::find_if(codegen::operators(), [](const codegen::Operator* one) {
    codegen::Problem problem = {};
    problem.op = one;
    return bench::needed_problems(problem).size() > 1;
  });
}

// The shapes of the operator, for any architecture, of a chain those of backward; none where only the host's part is
// asked for.
llvm::Expected<std::vector<SizedProblem>> asked_shapes(bool is_chain) {
  std::vector<SizedProblem> wanted;
  if (host && op.empty() && !is_chain) return wanted;
  llvm::Expected<std::string> name =
      required("--op", is_chain ? llvm::StringRef(last_of_chain().name) : llvm::StringRef(op));
  if (!name) return name.takeError();
  llvm::Expected<const codegen::Operator*> asked = codegen::parse_operator(*name);
  if (!asked) return asked.takeError();
  auto all = shapes == "default" ? parse_sized_shapes("default", default_bench_shapes) : read_sized_shapes(shapes);
  if (!all) return all.takeError();
  for (const SizedProblem& shape : *all)
    if (shape.problem.op == *asked) wanted.push_back(shape);
  if (!wanted.empty()) return wanted;
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: holds no shape of {}, allowed: one or more", shapes.getValue(), *name);
}

llvm::Error no_gpu(std::string_view reason) {
  return make_error(MHCJIT_ERROR_NO_DEVICE, "there is no usable GPU to measure on: {}; see 'mhcjit doctor'", reason);
}

void compile_all(const bench::Run& run, const std::vector<SizedProblem>& asked) {
  std::vector<mhcjit_problem> problems;
  for (const auto& [problem, tokens] : asked)
    for (const codegen::Problem& needed : bench::needed_problems(problem))
      problems.push_back(codegen::to_public(needed));
  gpu::compile_all(run.engine, run.gpu, problems);
}

// One kind of measurement of a shape.
struct Mode {
  const char* list;  // of the report
  std::string heading;
  std::string columns;  // of the TSV
  std::function<BenchRow(const SizedProblem&)> measure;
};

Mode mode_of(const bench::Run& run, int layers) {
  if (layers > 0)
    return {"chains", chain_heading(), chain_columns(),
            [&run, layers](const SizedProblem& shape) { return measure_chain(run, shape, layers); }};
  return {"operators", bench_heading(), bench_columns(),
          [&run](const SizedProblem& shape) { return measure_operator(run, shape); }};
}

llvm::Error measure_shapes(bench::Run& run, const std::vector<SizedProblem>& asked, int layers, BenchReport& report) {
  const std::atomic<bool>& interrupted = stop_on_interrupt("the shape that is measured");
  say(fmt::format("compiling for {} shapes", asked.size()));
  compile_all(run, asked);
  run.copy_gigabytes_per_second = bench::copy_gigabytes_per_second(run.gpu, run.seconds);
  const Mode mode = mode_of(run, layers);
  if (auto error = report.add_copy_rate(run.copy_gigabytes_per_second, mode.heading, mode.columns)) return error;
  std::size_t number = 0;
  for (const SizedProblem& shape : asked) {
    if (interrupted) {
      report.interrupt();
      break;
    }
    // A kernel that hangs is one of the last line's.
    say(fmt::format("{} of {}: {}", ++number, asked.size(), codegen::to_string(shape)));
    if (auto error = report.add_to(mode.list, mode.measure(shape))) return error;
  }
  return llvm::Error::success();
}

llvm::Expected<Report> measure(std::vector<SizedProblem> asked, int layers, const FirstCallsOrFailure& first_calls) {
  const gpu::Gpu* gpu = gpu::find_gpu();
  if (gpu == nullptr) return no_gpu(gpu::missing_gpu());
  auto architecture = codegen::parse_architecture(gpu->architecture);
  if (!architecture) return architecture.takeError();
  for (SizedProblem& shape : asked) shape.problem.architecture = *architecture;
  auto engine = open_engine(cache_dir);
  if (!engine) return engine.takeError();

  BenchReport report(results, *gpu);
  if (auto error = report.begin(commit, quick)) return error;
  bench::Run run = {*gpu, engine->get(), 0.0, quick ? 0.05 : 0.2};
  if (!asked.empty())
    if (auto error = measure_shapes(run, asked, layers, report)) return error;
  if (host)
    if (auto error = report.add("host", measure_host(*gpu, engine->get(), first_calls))) return error;
  return report.take();
}

llvm::Expected<Report> run() {
  auto layers = asked_layers();
  if (!layers) return layers.takeError();
  auto asked = asked_shapes(*layers > 0);
  if (!asked) return asked.takeError();
  FirstCallsOrFailure first_calls;
  if (host) first_calls = measure_first_calls(quick ? 1 : 3);
  if (first_calls.failure.status == MHCJIT_ERROR_NO_DEVICE) return no_gpu(first_calls.failure.text);
  try {
    return measure(std::move(*asked), static_cast<int>(*layers), first_calls);
  } catch (const std::runtime_error& failure) {
    return make_error(MHCJIT_ERROR_LAUNCH_FAILED, "the device cannot be measured: {}", failure.what());
  }
}

}  // namespace

const Command& bench_command() {
  static const Command command = {
      bench_options,
      "(--op OP | --chain LAYERS | --host) [--shapes FILE] [--quick] [--results FILE]\n"
      "       [--commit COMMIT] [--cache-dir DIR] [--json]",
      "Measures an operator on each shape of the file (docs/shapes.md), or of a list of its own: ordinary launches\n"
      "and launches replayed from a graph, with the L2 cache cold and warm, beside the floor: the time that a plain\n"
      "copy of the same run takes to move what the operator must move. brief is of replays for a moment after a rest,\n"
      "before a power limit slows the device's clocks; overlap is of calls that begin before the one before has "
      "ended.\n"
      "Every output is written, and compared with a float64 reference on a sample of tokens. Progress goes to stderr.\n"
      "After Ctrl-C or SIGTERM what is measured so far is printed, and the exit code is 130. Exit code 1: a shape "
      "failed, or a\n"
      "result is wrong. --chain measures forward and then backward of so many layers, captured in one "
      "graph:\n"
      "each layer has tensors of its own if memory has room for them, else layers share sets that outgrow the L2 "
      "cache.\n"
      "Its times are of the whole chain, its floor is that of all calls. --host, alone or beside one of these, "
      "measures what the host pays: a call beside bare\n"
      "launches, a prepare, loading a kernel, and the first call of a new process with an empty cache folder and with\n"
      "a warm one.",
      fmt::format("  mhcjit bench --op {0}\n"
                  "  mhcjit bench --op {1} --quick --json\n"
                  "  mhcjit bench --op {0} --shapes shapes.json --host --results bench.tsv\n"
                  "  mhcjit bench --chain 60 --results chain.tsv",
                  codegen::operators().front()->name, codegen::operators().back()->name),
      run};
  return command;
}

}  // namespace mhcjit::tools
