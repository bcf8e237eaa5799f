#include <ctime>

#include <fmt/chrono.h>
#include <llvm/Support/raw_ostream.h>

#include "runtime/doctor.h"
#include "tools/bench_candidates.h"
#include "tools/command.h"
#include "tools/engine.h"
#include "tools/interrupt.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand bench_options("bench", "measure the operators on device 0");
cl::opt<std::string> op("op", cl::desc("pre_forward or pre_backward"), cl::value_desc("OP"), cl::sub(bench_options));
cl::opt<std::string> shapes("shapes", cl::desc("file of shapes with numbers of tokens; default: a list of its own"),
                            cl::value_desc("FILE"), cl::init("default"), cl::sub(bench_options));
cl::opt<bool> candidates("candidates",
                         cl::desc("measure each candidate of the one-pass template in place of the choice"),
                         cl::sub(bench_options));
cl::opt<bool> quick("quick", cl::desc("fewer samples"), cl::sub(bench_options));
cl::opt<std::string> results("results", cl::desc("file for the JSON, written after each shape"), cl::value_desc("FILE"),
                             cl::sub(bench_options));
cl::opt<std::string> commit("commit", cl::desc("commit that this was built from, for the JSON"),
                            cl::value_desc("COMMIT"), cl::init("unknown"), cl::sub(bench_options));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(bench_options));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(bench_options));

// The shapes of the operator, for any architecture.
llvm::Expected<std::vector<SizedProblem>> asked_shapes() {
  llvm::Expected<std::string> name = required("--op", op);
  if (!name) return name.takeError();
  llvm::Expected<codegen::Op> asked = codegen::parse_op(*name);
  if (!asked) return asked.takeError();
  if (candidates && *asked != codegen::Op::pre_forward)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--candidates is given with --op {}, allowed: --op pre_forward",
                      *name);
  auto all = shapes == "default" ? parse_sized_shapes("default", default_bench_shapes) : read_sized_shapes(shapes);
  if (!all) return all.takeError();
  std::vector<SizedProblem> wanted;
  for (const SizedProblem& shape : *all)
    if (shape.problem.op == *asked) wanted.push_back(shape);
  if (!wanted.empty()) return wanted;
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: holds no shape of {}, allowed: one or more", shapes.getValue(), *name);
}

llvm::Expected<const gpu::Gpu*> open_gpu() {
  if (const gpu::Gpu* gpu = gpu::find_gpu()) return gpu;
  return make_error(MHCJIT_ERROR_NO_DEVICE, "there is no usable GPU to measure on: {}; see 'mhcjit doctor'",
                    gpu::missing_gpu());
}

llvm::Expected<llvm::json::Object> header_of(const gpu::Gpu& gpu) {
  auto found = runtime::find_out({});
  if (!found) return found.takeError();
  return llvm::json::Object{{"device", gpu.name},
                            {"architecture", gpu.architecture},
                            {"driver", found->driver.version},
                            {"nvrtc", found->nvrtc.version},
                            {"nvrtc_path", found->nvrtc.path},
                            {"mhcjit", found->library_version},
                            {"commit", commit.getValue()},
                            {"date", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))},
                            {"l2_bytes", gpu.l2_bytes},
                            {"quick", quick.getValue()}};
}

llvm::Error write_results(const llvm::json::Object& report) {
  if (results.empty()) return llvm::Error::success();
  std::error_code error;
  llvm::raw_fd_ostream file(results, error);
  if (!error) {
    file << llvm::formatv("{0:2}\n", llvm::json::Value(llvm::json::Object(report)));
    file.close();
    error = file.error();
    file.clear_error();
  }
  if (!error) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO, "results file '{}' cannot be written: {}", results.getValue(), error.message());
}

void compile_all(const bench::Run& run, const std::vector<SizedProblem>& shapes) {
  std::vector<mhcjit_problem> problems;
  for (const SizedProblem& shape : shapes)
    for (const mhcjit_op op : {MHCJIT_PRE_FORWARD, MHCJIT_PRE_BACKWARD}) {
      const codegen::Problem& problem = shape.problem;
      // Backward reads what forward saves.
      if (static_cast<int>(op) <= static_cast<int>(problem.op))
        problems.push_back({op, problem.n, problem.d, static_cast<mhcjit_dtype>(problem.dtype),
                            problem.has_gamma ? 1 : 0, problem.batch_invariant ? 1 : 0});
    }
  gpu::compile_all(run.engine, run.gpu, problems);
}

llvm::Expected<Report> measure_all() {
  auto asked = asked_shapes();
  if (!asked) return asked.takeError();
  auto gpu = open_gpu();
  if (!gpu) return gpu.takeError();
  auto architecture = codegen::parse_architecture((*gpu)->architecture);
  if (!architecture) return architecture.takeError();
  for (SizedProblem& shape : *asked) shape.problem.architecture = *architecture;
  auto engine = open_engine(cache_dir);
  if (!engine) return engine.takeError();
  auto header = header_of(**gpu);
  if (!header) return header.takeError();
  // A file that cannot be written should be known before all is measured.
  if (auto error = write_results(*header)) return error;

  const std::atomic<bool>& interrupted = stop_on_interrupt();
  // Of a candidate only as much as tells it from others.
  bench::Run shared = {**gpu, engine->get(), 0.0, candidates ? 0.02 : quick ? 0.05 : 0.2};
  say(fmt::format("compiling for {} shapes", asked->size()));
  compile_all(shared, *asked);
  shared.copy_gigabytes_per_second = bench::copy_gigabytes_per_second(**gpu, shared.seconds);
  (*header)["copy_gigabytes_per_second"] = number(shared.copy_gigabytes_per_second);

  Report report;
  report.json = std::move(*header);
  report.text = fmt::format("{}, {}, commit {}; a plain copy: {:.0f} GB/s read plus written\n{}", (*gpu)->name,
                            (*gpu)->architecture, commit.getValue(), shared.copy_gigabytes_per_second,
                            candidates ? "" : bench_heading());
  CandidateSweep sweep(shared);
  llvm::json::Array rows;
  for (const SizedProblem& shape : *asked) {
    if (interrupted) break;
    // A kernel that hangs is the one of the last line.
    say(fmt::format("{} of {}: {}", rows.size() + 1, asked->size(), name_of(shape)));
    BenchRow row = candidates ? sweep.measure(shape) : measure_operator(shared, shape);
    say(llvm::StringRef(row.text).rtrim().str());
    report.text += row.text;
    rows.push_back(std::move(row.json));
    report.json[candidates ? "candidates" : "operators"] = llvm::json::Array(rows);
    if (!row.ok) report.exit_code = exit_failed;
    if (auto error = write_results(report.json)) return error;
  }
  if (rows.size() < asked->size()) {
    say("interrupted: what is measured so far stays");
    report.exit_code = exit_interrupted;
  }
  return report;
}

llvm::Expected<Report> run() {
  try {
    return measure_all();
  } catch (const std::runtime_error& failure) {
    return make_error(MHCJIT_ERROR_LAUNCH_FAILED, "the device cannot be measured: {}", failure.what());
  }
}

}  // namespace

const Command& bench_command() {
  static const Command command = {
      bench_options,
      "--op OP [--shapes FILE] [--candidates] [--quick] [--results FILE] [--commit COMMIT] [--cache-dir DIR] [--json]",
      "Measures an operator on each shape of the file (docs/shapes.md), or of a list of its own: ordinary launches\n"
      "and launches replayed from a graph, with the L2 cache cold and warm, beside the floor: the time that a plain\n"
      "copy of the same run takes to move what the operator must move. Every output is written, and compared with\n"
      "a float64 reference on a sample of tokens. Progress goes to stderr. After Ctrl-C what is measured so far is\n"
      "printed, and the exit code is 130. Exit code 1: a shape failed, or a result is wrong.\n"
      "--candidates measures, in place of the kernels that the library chooses, every legal candidate of the\n"
      "one-pass template, and says by how much the heuristic's is slower than the fastest.",
      "  mhcjit bench --op pre_forward\n"
      "  mhcjit bench --op pre_backward --quick --json\n"
      "  mhcjit bench --op pre_forward --shapes shapes.json --results bench.json\n"
      "  mhcjit bench --op pre_forward --candidates --json > candidates.json",
      run};
  return command;
}

}  // namespace mhcjit::tools
