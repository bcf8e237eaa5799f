#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "codegen/choose.h"
#include "codegen/operators.h"
#include "runtime/tuned_records.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/options.h"
#include "tools/shapes.h"
#include "tools/warmup_jobs.h"
#include "tools/warmup_run.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand warmup("warmup", "compile forward and backward into the cache, without a GPU");
cl::opt<std::string> shapes("shapes", cl::desc("file of problems, in place of the options that name them"),
                            cl::value_desc("FILE"), cl::sub(warmup));
cl::opt<std::string> tuned("tuned",
                           cl::desc("tuned record, whose plans are compiled; its problems, where none is named"),
                           cl::value_desc("FILE"), cl::sub(warmup));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16; a comma list is allowed"), cl::value_desc("N"),
                       cl::sub(warmup));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216; a comma list is allowed"), cl::value_desc("D"),
                       cl::sub(warmup));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16, fp32; a comma list is allowed"),
                           cl::value_desc("DTYPE"), cl::init("bf16"), cl::sub(warmup));
cl::opt<std::string> arch("arch", cl::desc("architectures, such as sm_80,sm_90a"), cl::value_desc("ARCH"),
                          cl::sub(warmup));
cl::opt<bool> gamma("gamma", cl::desc("the problems have gamma"), cl::sub(warmup));
cl::opt<bool> batch_invariant("batch-invariant", cl::desc("row t has the same bits whatever T is"), cl::sub(warmup));
cl::opt<bool> fp32_dx("fp32-dx", cl::desc("dx is fp32 whatever dtype is"), cl::sub(warmup));
cl::opt<std::string> jobs("jobs", cl::desc("operators compiled at a time; default one a core, if each has 500 MB"),
                          cl::value_desc("N"), cl::sub(warmup));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(warmup));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(warmup));

// The problems of the shapes file for each architecture.
llvm::Expected<std::vector<codegen::Problem>> problems_of_file() {
  for (const cl::Option* other :
       std::initializer_list<const cl::Option*>{&n, &d, &dtype, &gamma, &batch_invariant, &fp32_dx})
    if (other->getNumOccurrences() > 0)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--{} is given with --shapes, allowed: one of the two",
                        other->ArgStr.str());
  auto architectures = parse_architectures("--arch", arch);
  if (!architectures) return architectures.takeError();
  auto named = read_shapes(shapes);
  if (!named) return named.takeError();
  for (const std::string& line : named->cut_lines)
    say(line + " is passed over: it is a record that was cut short, as by a full disk; what it named may be missing");
  std::vector<codegen::Problem> problems;
  for (const codegen::Architecture& architecture : *architectures)
    for (codegen::Problem problem : named->problems) {
      problem.architecture = architecture;
      problems.push_back(problem);
    }
  return problems;
}

// The problems that the record chooses plans for.
llvm::Expected<std::vector<codegen::Problem>> problems_of_record(const codegen::TunedRecordPtr& record) {
  if (arch.getNumOccurrences() > 0) {
    auto architectures = parse_architectures("--arch", arch);
    if (!architectures) return architectures.takeError();
    if (*architectures != std::vector{record->header.architecture})
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--arch is '{}', allowed: {}, for which {} was made",
                        arch.getValue(), to_string(record->header.architecture), tuned.getValue());
  }
  std::vector<codegen::Problem> problems;
  for (const codegen::TunedChoice& choice : record->choices) {
    auto buckets = codegen::choose(choice.problem, {.tuned = {.record = record}});
    if (!buckets) return buckets.takeError();
    if (const std::string& refused = buckets->front().origin.refused; !refused.empty())
      say(fmt::format("{}: other plans than the record's serve: {}", to_string(choice.problem), refused));
    problems.push_back(choice.problem);
  }
  if (problems.empty())
    return make_error(MHCJIT_ERROR_BAD_FILE, "{} chooses plans for no problem; finish the sweep", tuned.getValue());
  return problems;
}

llvm::Expected<std::vector<codegen::Problem>> asked_problems() {
  const bool is_named = n.getNumOccurrences() > 0 || d.getNumOccurrences() > 0 || shapes.getNumOccurrences() > 0;
  if (tuned.getNumOccurrences() > 0) {
    auto record = runtime::read_tuned_record(tuned);
    if (!record) return record.takeError();
    if (!is_named) return problems_of_record(*record);
  }
  if (shapes.getNumOccurrences() > 0) return problems_of_file();
  return parse_problems({n, d, dtype, arch, gamma, batch_invariant, fp32_dx}, codegen::operators());
}

llvm::Expected<int> job_count(std::size_t problem_count) {
  int count = default_jobs(std::thread::hardware_concurrency(), available_memory_bytes());
  if (jobs.getNumOccurrences() > 0) {
    auto given = parse_integer("--jobs", jobs, 1, 256);
    if (!given) return given.takeError();
    count = static_cast<int>(*given);
  }
  return static_cast<int>(std::min<std::size_t>(count, problem_count));
}

struct Totals {
  std::int64_t compiled = 0;
  std::int64_t hits = 0;
  std::int64_t skipped = 0;
  llvm::json::Array kernels;
  llvm::json::Array errors;
  std::string said;  // of the last failure
};

// Adds one problem's outcome to the totals; a failure goes to stderr too.
void add(Totals& totals, const codegen::Problem& problem, const WarmupOutcome& outcome) {
  const std::string name = codegen::to_string(problem);
  const bool hit = outcome.kind == WarmupOutcome::Kind::hit;
  switch (outcome.kind) {
    case WarmupOutcome::Kind::skipped: ++totals.skipped; return;
    case WarmupOutcome::Kind::failed: {
      // A reason that stops all, such as no NVRTC, is said once. It may begin with the problem's name.
      llvm::StringRef reason = outcome.failure.text;
      reason.consume_front(name + ": ");
      say(fmt::format("failed: {}: {}", name, reason == totals.said ? "the same" : reason));
      totals.said = reason.str();
      totals.errors.push_back(llvm::json::Object{
          {"problem", name}, {"code", mhcjit_status_name(outcome.failure.status)}, {"text", outcome.failure.text}});
      return;
    }
    case WarmupOutcome::Kind::compiled:
    case WarmupOutcome::Kind::hit:
      ++(hit ? totals.hits : totals.compiled);
      totals.kernels.push_back(llvm::json::Object{{"problem", name},
                                                  {"cache_hit", hit},
                                                  {"ms", outcome.milliseconds},
                                                  {"cubin_bytes", static_cast<std::int64_t>(outcome.cubin_bytes)},
                                                  {"digest", outcome.digest}});
  }
}

llvm::Expected<Report> run() {
  auto problems = asked_problems();
  if (!problems) return problems.takeError();
  llvm::Expected<int> job_number = job_count(problems->size());
  if (!job_number) return job_number.takeError();
  llvm::Expected<std::string> folder = cache_folder(cache_dir);
  if (!folder) return folder.takeError();

  // The variable is for the programs that run afterwards: compiling is what a warm-up is for.
  ::unsetenv("MHCJIT_NO_COMPILE");
  const std::atomic<bool>& interrupted =
      stop_on_interrupt("the compiles that are under way, here or in a process that is waited for");
  auto delivery = WarmupDelivery::open(*folder);
  if (!delivery) return delivery.takeError();
  WarmupRequest request = {std::move(*problems), *folder, *job_number, tuned};
  if (llvm::Error error = (*delivery)->check()) request.obstacle = take_failure(std::move(error));
  const auto start = std::chrono::steady_clock::now();
  const std::vector<WarmupOutcome> outcomes = run_warmup(request, **delivery, interrupted);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;

  Totals totals;
  for (std::size_t i = 0; i < outcomes.size(); ++i) add(totals, request.problems[i], outcomes[i]);
  if (totals.skipped > 0) say("interrupted: what is compiled stays, run again to compile the rest");
  const auto failed = static_cast<std::int64_t>(totals.errors.size());
  Report report;
  report.exit_code = totals.skipped > 0 ? exit_interrupted : failed > 0 ? exit_failed : exit_ok;
  const std::string server = (*delivery)->server_name();
  const std::int64_t sent = (*delivery)->sent();
  report.text = fmt::format("{} compiled, {} hits, {} failed of {} in {:.0f} ms with {} jobs, cache folder {}{}\n",
                            totals.compiled, totals.hits, failed, outcomes.size(), time.count(), request.jobs, *folder,
                            server.empty() ? "" : fmt::format(", {} sent to {}", sent, server));
  report.json =
      llvm::json::Object{{"compiled", totals.compiled},
                         {"hits", totals.hits},
                         {"failed", failed},
                         {"skipped", totals.skipped},
                         {"jobs", request.jobs},
                         {"ms", time.count()},
                         {"cache_dir", *folder},
                         {"remote_cache", server.empty() ? llvm::json::Value(nullptr)
                                                         : llvm::json::Object{{"url", server}, {"sent", sent}}},
                         {"kernels", std::move(totals.kernels)},
                         {"errors", std::move(totals.errors)}};
  return report;
}

}  // namespace

const Command& warmup_command() {
  static const Command command = {
      warmup,
      "(--shapes FILE | --n N --d D [--dtype DTYPE] [--gamma] [--batch-invariant] [--fp32-dx]) --arch ARCH[,ARCH...]\n"
      "       [--tuned FILE] [--jobs N] [--cache-dir DIR] [--json]\n"
      "       mhcjit warmup --tuned FILE [--jobs N] [--cache-dir DIR] [--json]",
      "Compiles every problem of the shapes file (docs/shapes.md), or every operator for every\n"
      "combination of --n, --d and --dtype, for each architecture, with the plans of the tuned record\n"
      "(docs/tuning.md) where it has them. With --tuned alone, compiles the problems of the record for its\n"
      "architecture. The default cache folder is $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else\n"
      "$HOME/.cache/mhcjit. What is in the cache already is a hit and is not compiled again: after Ctrl-C or a\n"
      "failure, run the same command to do the rest. A kernel that a later process will not find in the folder, or\n"
      "on the server of MHCJIT_CACHE_REMOTE, counts as\n"
      "failed; where the folder cannot be written, nothing is compiled. Progress goes to stderr: a bar on a terminal,\n"
      "a line every 10 s elsewhere; then each failure. Exit code 130 after Ctrl-C or SIGTERM.",
      "  mhcjit warmup --shapes shapes.json --arch sm_90a,sm_100a\n"
      "  mhcjit warmup --n 4 --d 4096 --dtype bf16 --arch sm_90a\n"
      "  mhcjit warmup --tuned tuned.jsonl\n"
      "  mhcjit warmup --n 4 --d 2560,4096 --dtype bf16 --gamma --arch sm_80,sm_90a --cache-dir ./kernels --json",
      run};
  return command;
}

}  // namespace mhcjit::tools
