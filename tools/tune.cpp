#include <algorithm>
#include <thread>

#include <llvm/Support/JSON.h>

#include "codegen/operators.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/options.h"
#include "tools/progress_line.h"
#include "tools/shapes.h"
#include "tools/tune_kit.h"
#include "tools/warmup_jobs.h"
#include "tuning/report.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;
using std::chrono::steady_clock;

cl::SubCommand tune("tune", "find the fastest plans on a device");
cl::opt<std::string> shapes("shapes", cl::desc("file of shapes with numbers of tokens, in place of the options"),
                            cl::value_desc("FILE"), cl::sub(tune));
cl::opt<std::string> op("op", cl::desc(operator_help()), cl::value_desc("OP"), cl::sub(tune));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16; a comma list is allowed"), cl::value_desc("N"),
                       cl::sub(tune));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216; a comma list is allowed"), cl::value_desc("D"),
                       cl::sub(tune));
cl::opt<std::string> t("t", cl::desc("numbers of tokens T, a comma list"), cl::value_desc("T"), cl::sub(tune));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16, fp32; a comma list is allowed"),
                           cl::value_desc("DTYPE"), cl::init("bf16"), cl::sub(tune));
cl::opt<bool> gamma("gamma", cl::desc("the problems have gamma"), cl::sub(tune));
cl::opt<bool> batch_invariant("batch-invariant", cl::desc("row t has the same bits whatever T is"), cl::sub(tune));
cl::opt<bool> fp32_dx("fp32-dx", cl::desc("dx is fp32 whatever dtype is"), cl::sub(tune));
cl::opt<std::string> output("o", cl::desc("record to make or to go on with; default tuned.jsonl"),
                            cl::value_desc("FILE"), cl::init("tuned.jsonl"), cl::sub(tune));
cl::opt<std::string> budget("budget", cl::desc("time that it may take, such as 90s or 10m"), cl::value_desc("TIME"),
                            cl::sub(tune));
cl::opt<std::string> devices("devices", cl::desc("devices to share the work among, such as 0,1; default 0"),
                             cl::value_desc("K,K..."), cl::init("0"), cl::sub(tune));
cl::opt<std::string> shard("shard", cl::desc("part I of N, counted from 0, for a record of its own"),
                           cl::value_desc("I/N"), cl::sub(tune));
cl::opt<std::string> margin("margin",
                            cl::desc("plans are tried whose estimate is at most so many times the least; default 1.2"),
                            cl::value_desc("RATIO"), cl::init("1.2"), cl::sub(tune));
cl::opt<std::string> most("most", cl::desc("plans to try at one T, the cheapest by the estimate; default 10"),
                          cl::value_desc("COUNT"), cl::init("10"), cl::sub(tune));
cl::opt<std::string> jobs("jobs", cl::desc("compiles at a time; default one a core but one, if each has 500 MB"),
                          cl::value_desc("N"), cl::sub(tune));
cl::opt<std::string> cache_dir("cache-dir", cl::desc("folder of compiled kernels"), cl::value_desc("DIR"),
                               cl::sub(tune));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(tune));

llvm::Expected<std::vector<SizedProblem>> shapes_of_file() {
  for (const cl::Option* other :
       std::initializer_list<const cl::Option*>{&n, &d, &t, &dtype, &gamma, &batch_invariant, &fp32_dx})
    if (other->getNumOccurrences() > 0)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--{} is given with --shapes, allowed: one of the two",
                        other->ArgStr.str());
  return read_sized_shapes(shapes);
}

// For any architecture: the device gives it.
llvm::Expected<std::vector<SizedProblem>> shapes_of_options() {
  auto tokens = parse_integers("--t", t, 1, codegen::max_tokens);
  if (!tokens) return tokens.takeError();
  auto problems = parse_problems({n, d, dtype, "sm_90a", gamma, batch_invariant, fp32_dx}, codegen::operators());
  if (!problems) return problems.takeError();
  std::vector<SizedProblem> all;
  for (const codegen::Problem& problem : *problems)
    for (const std::int64_t T : *tokens) all.push_back({problem, T});
  return all;
}

llvm::Expected<std::vector<SizedProblem>> asked_shapes() {
  auto all = shapes.getNumOccurrences() > 0 ? shapes_of_file() : shapes_of_options();
  if (!all || op.empty()) return all;
  llvm::Expected<const codegen::Operator*> asked = codegen::parse_operator(op);
  if (!asked) return asked.takeError();
  std::erase_if(*all, [&](const SizedProblem& shape) { return shape.problem.op != *asked; });
  return all;
}

llvm::Expected<std::optional<std::chrono::milliseconds>> asked_budget() {
  if (budget.empty()) return std::nullopt;
  llvm::StringRef number = budget;
  const double unit = number.consume_back("m") ? 60e3 : 1e3;
  number.consume_back("s");
  auto value = parse_number("--budget", number, 0);
  if (!value)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--budget is '{}', allowed: a time such as 90s or 10m",
                      budget.getValue());
  return std::chrono::milliseconds(static_cast<std::int64_t>(*value * unit));
}

llvm::Expected<tuning::Shard> asked_shard() {
  if (shard.empty()) return tuning::Shard();
  const auto [index, count] = llvm::StringRef(shard).split('/');
  tuning::Shard asked;
  if (index.getAsInteger(10, asked.index) || count.getAsInteger(10, asked.count) || asked.index >= asked.count)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--shard is '{}', allowed: I/N with I from 0 to N - 1",
                      shard.getValue());
  return asked;
}

llvm::Expected<unsigned> asked_jobs() {
  if (jobs.empty()) {
    const int all = default_jobs(std::thread::hardware_concurrency(), available_memory_bytes());
    return static_cast<unsigned>(std::max(1, all - 1));
  }
  auto count = parse_integer("--jobs", jobs, 1, 256);
  if (!count) return count.takeError();
  return static_cast<unsigned>(*count);
}

llvm::Expected<tuning::Request> asked_request() {
  tuning::Request request;
  auto wanted = asked_shapes();
  if (!wanted) return wanted.takeError();
  request.shapes = std::move(*wanted);
  auto places = parse_integers("--devices", devices, 0, 1023);
  if (!places) return places.takeError();
  request.devices.assign(places->begin(), places->end());
  auto part = asked_shard();
  if (!part) return part.takeError();
  request.shard = *part;
  auto ratio = parse_number("--margin", margin, 1);
  if (!ratio) return ratio.takeError();
  request.pruning.margin = *ratio;
  auto count = parse_integer("--most", most, 1, 100000);
  if (!count) return count.takeError();
  request.pruning.most = static_cast<std::size_t>(*count);
  auto time = asked_budget();
  if (!time) return time.takeError();
  request.budget = *time;
  auto threads = asked_jobs();
  if (!threads) return threads.takeError();
  request.compile_threads = *threads;
  request.record = output;
  return request;
}

// "3/160, pre_forward n=4 D=4096 bf16 sm_90a T=64: best 5.10 us, 1.32 of the floor; 3 min 20 s left"
std::string describe(const tuning::Progress& progress) {
  std::string text =
      fmt::format("{}/{}, {}", progress.rows_done, progress.rows, codegen::to_string(progress.row->shape));
  if (progress.best_us > 0)
    text +=
        fmt::format(": best {:.2f} us, {:.2f} of the floor", progress.best_us, progress.best_us / progress.floor_us);
  const std::size_t measured = progress.rows_done - progress.rows_found_done;
  if (measured == 0) return text + "; time left unknown";
  const double rest = static_cast<double>(progress.rows - progress.rows_done);
  const auto left = std::chrono::ceil<std::chrono::seconds>(progress.elapsed / static_cast<double>(measured) * rest);
  return text + "; " + to_text(left) + " left";
}

llvm::json::Object json_of(const codegen::TunedChoice& choice) {
  return std::move(*llvm::cantFail(llvm::json::parse(to_line(choice))).getAsObject()->getObject("choice"));
}

Report report_of(const tuning::Summary& summary, bool was_interrupted) {
  Report report;
  report.exit_code = was_interrupted ? exit_interrupted : summary.failures.empty() ? exit_ok : exit_failed;
  llvm::json::Array choices, failures;
  for (const codegen::TunedChoice& choice : summary.choices) choices.push_back(json_of(choice));
  for (const std::string& failure : summary.failures) failures.push_back(llvm::json::fixUTF8(failure));
  report.json = llvm::json::Object{{"record", llvm::json::fixUTF8(output)},
                                   {"device", llvm::json::fixUTF8(summary.header.device)},
                                   {"copy_gigabytes_per_second", summary.header.copy_gigabytes_per_second},
                                   {"rows", static_cast<std::int64_t>(summary.rows)},
                                   {"rows_done", static_cast<std::int64_t>(summary.rows_done)},
                                   {"trials", static_cast<std::int64_t>(summary.trials)},
                                   {"new_trials", static_cast<std::int64_t>(summary.new_trials)},
                                   {"pruned", static_cast<std::int64_t>(summary.pruned)},
                                   {"is_out_of_time", summary.is_out_of_time},
                                   {"choices", std::move(choices)},
                                   {"failures", std::move(failures)}};
  report.text = tuning::table_of({summary.header, {}, summary.choices});
  report.text += fmt::format(
      "{} of {} rows done, {} trials, {} of them new; {} plans not tried, whose estimate is beyond --margin {} or "
      "--most {}; record {}\n",
      summary.rows_done, summary.rows, summary.trials, summary.new_trials, summary.pruned, margin.getValue(),
      most.getValue(), output.getValue());
  return report;
}

llvm::Expected<Report> run() {
  auto request = asked_request();
  if (!request) return request.takeError();
  llvm::Expected<std::string> folder = cache_folder(cache_dir);
  if (!folder) return folder.takeError();
  auto kit = tune_kit(*folder);
  if (!kit) return kit.takeError();
  const std::atomic<bool>& interrupted = stop_on_interrupt("the trial that is under way");
  ProgressLine line(ProgressLine::style(), steady_clock::now());
  auto summary = tuning::sweep(*request, *kit, interrupted, [&](const tuning::Progress& progress) {
    write_progress(line.update(progress.rows_done, progress.rows, describe(progress), steady_clock::now()));
  });
  write_progress(line.clear());
  if (!summary) return summary.takeError();
  for (const std::string& failure : summary->failures) say("failed: " + failure);
  if (!summary->is_done() && summary->failures.empty())
    say(fmt::format("{}: what is tried stays, run again to go on", interrupted ? "interrupted" : "out of time"));
  return report_of(*summary, interrupted);
}

}  // namespace

const Command& tune_command() {
  static const Command command = {
      tune,
      "(--shapes FILE | --n N --d D --t T [--dtype DTYPE] [--gamma] [--batch-invariant] [--fp32-dx])\n"
      "       [--op OP] [-o FILE] [--budget TIME] [--devices K,K...] [--shard I/N] [--margin RATIO] [--most COUNT]\n"
      "       [--jobs N] [--cache-dir DIR] [--json]",
      "Tries plans of each problem at each T and writes which are the fastest to a record (docs/tuning.md), which\n"
      "MHCJIT_TUNED names to programs. Plans run in a process of their own: one that faults or hangs is a line of the\n"
      "record with its reason. A plan counts if its outputs are right, and is chosen if it beats the one that serves\n"
      "without a record by more than the spread of both, and by more than 2 %. What is in the record already is not\n"
      "tried again: after Ctrl-C, a kill or the end of the budget, run the same command to go on.\n"
      "Progress goes to stderr. Exit code 130 after Ctrl-C or SIGTERM.",
      "  mhcjit tune --n 4 --d 4096 --t 1,64,8192 --dtype bf16\n"
      "  mhcjit tune --shapes shapes.json --op pre_forward --budget 10m --devices 0,1 -o tuned.jsonl\n"
      "  mhcjit tune --shapes shapes.json --shard 3/8 -o part-3.jsonl --json",
      run};
  return command;
}

}  // namespace mhcjit::tools
