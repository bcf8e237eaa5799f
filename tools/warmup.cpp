#include <atomic>
#include <chrono>
#include <csignal>
#include <memory>

#include "cache/location.h"
#include "tools/command.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand warmup("warmup", "compile forward and backward into the cache, without a GPU");
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16; a comma list is allowed"), cl::value_desc("N"),
                       cl::sub(warmup));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216; a comma list is allowed"), cl::value_desc("D"),
                       cl::sub(warmup));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16, fp32; a comma list is allowed"),
                           cl::value_desc("DTYPE"), cl::init("bf16"), cl::sub(warmup));
cl::opt<std::string> arch("arch", cl::desc("architectures, such as sm_80,sm_90a"), cl::value_desc("ARCH"),
                          cl::sub(warmup));
cl::opt<bool> gamma("gamma", cl::desc("the problems have gamma"), cl::sub(warmup));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(warmup));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(warmup));

std::atomic<bool> interrupted = false;

// Ctrl-C ends the loop after the current compile; a second one ends the process.
void stop_on_interrupt() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
}

// The engine's last warning: the reason for what the result does not say.
void remember_warning(mhcjit_log_level, const char* line, void* user) { *static_cast<std::string*>(user) = line; }

struct DestroyEngine {
  void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
};

struct Totals {
  int compiled = 0;
  int hits = 0;
  llvm::json::Array kernels;
  llvm::json::Array errors;
};

class Warmup {
 public:
  explicit Warmup(std::string folder) : folder_(std::move(folder)) {}

  llvm::Error open() {
    mhcjit_engine_options options = {};
    options.cache_dir = folder_.c_str();
    options.log = remember_warning;
    options.log_user = &warning_;
    mhcjit_engine* engine = nullptr;
    auto error = library_error(mhcjit_engine_create(&options, &engine));
    engine_.reset(engine);
    return error;
  }

  void compile(const codegen::Problem& problem, const std::string& progress) {
    const std::string name = codegen::to_string(problem);
    const mhcjit_problem asked = {
        static_cast<mhcjit_op>(problem.op), problem.n, problem.d, static_cast<mhcjit_dtype>(problem.dtype),
        problem.has_gamma ? 1 : 0,          0};
    mhcjit_compile_result result = {};
    llvm::Error error =
        library_error(mhcjit_compile(engine_.get(), &asked, codegen::to_string(problem.architecture).c_str(), &result));
    if (!error) error = check_published();
    if (error) {
      const Failure failure = take_failure(std::move(error));
      say(fmt::format("{} {}: failed: {}", progress, name, failure.text));
      totals.errors.push_back(
          llvm::json::Object{{"problem", name}, {"code", mhcjit_status_name(failure.status)}, {"text", failure.text}});
      return;
    }
    const bool hit = result.cache_hit != 0;
    ++(hit ? totals.hits : totals.compiled);
    say(fmt::format("{} {}: {}, {:.0f} ms, {} bytes", progress, name, hit ? "hit" : "compiled", result.milliseconds,
                    result.cubin_bytes));
    totals.kernels.push_back(llvm::json::Object{{"problem", name},
                                                {"cache_hit", hit},
                                                {"ms", result.milliseconds},
                                                {"cubin_bytes", static_cast<std::int64_t>(result.cubin_bytes)},
                                                {"digest", std::string(result.digest)}});
  }

  Totals totals;

 private:
  // The library degrades to no cache without failing, but a warm-up that leaves nothing behind has failed.
  llvm::Error check_published() {
    mhcjit_counters counters = {};
    if (auto error = library_error(mhcjit_engine_counters(engine_.get(), &counters))) return error;
    if (counters.publish_failures == publish_failures_) return llvm::Error::success();
    publish_failures_ = counters.publish_failures;
    return make_error(MHCJIT_ERROR_IO, "compiled, but not written to the cache folder '{}': {}", folder_, warning_);
  }

  std::string folder_;
  std::string warning_;
  std::uint64_t publish_failures_ = 0;
  std::unique_ptr<mhcjit_engine, DestroyEngine> engine_;
};

llvm::Expected<std::string> cache_folder() {
  if (!cache_dir.empty()) return cache_dir;
  std::string folder = cache::default_root([](const char* name) -> const char* { return std::getenv(name); });
  if (!folder.empty()) return folder;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "there is no cache folder to compile into: pass --cache-dir, or set MHCJIT_CACHE_DIR or HOME");
}

llvm::Expected<Report> run() {
  auto problems = parse_problems({n, d, dtype, arch, gamma}, {codegen::Op::pre_forward, codegen::Op::pre_backward});
  if (!problems) return problems.takeError();
  llvm::Expected<std::string> folder = cache_folder();
  if (!folder) return folder.takeError();
  Warmup warmup_run(*folder);
  if (auto error = warmup_run.open()) return error;

  stop_on_interrupt();
  const auto start = std::chrono::steady_clock::now();
  std::size_t done = 0;
  for (; done < problems->size() && !interrupted; ++done)
    warmup_run.compile((*problems)[done], fmt::format("{}/{}", done + 1, problems->size()));
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;

  Totals& totals = warmup_run.totals;
  const auto failed = static_cast<std::int64_t>(totals.errors.size());
  Report report;
  report.exit_code = done < problems->size() ? exit_interrupted : failed > 0 ? exit_failed : exit_ok;
  report.text = fmt::format("{} compiled, {} hits, {} failed of {} in {:.0f} ms, cache folder {}\n", totals.compiled,
                            totals.hits, failed, problems->size(), time.count(), *folder);
  report.json = llvm::json::Object{{"compiled", totals.compiled},
                                   {"hits", totals.hits},
                                   {"failed", failed},
                                   {"skipped", static_cast<std::int64_t>(problems->size() - done)},
                                   {"ms", time.count()},
                                   {"cache_dir", *folder},
                                   {"kernels", std::move(totals.kernels)},
                                   {"errors", std::move(totals.errors)}};
  if (done < problems->size()) say("interrupted: what is compiled stays, run again to compile the rest");
  return report;
}

}  // namespace

const Command& warmup_command() {
  static const Command command = {
      warmup, "--n N --d D --arch ARCH[,ARCH...] [--dtype DTYPE] [--gamma] [--cache-dir DIR] [--json]",
      "Compiles pre_forward and pre_backward for every combination. The default cache folder is\n"
      "$MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit. What is in the cache already is\n"
      "a hit and is not compiled again. A kernel that could not be written to the folder counts as failed.",
      "  mhcjit warmup --n 4 --d 4096 --dtype bf16 --arch sm_90a\n"
      "  mhcjit warmup --n 4 --d 2560,4096 --dtype bf16 --gamma --arch sm_80,sm_90a --cache-dir ./kernels --json",
      run};
  return command;
}

}  // namespace mhcjit::tools
