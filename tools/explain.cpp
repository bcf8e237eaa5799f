#include <algorithm>
#include <map>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "codegen/operators.h"
#include "runtime/builder.h"
#include "runtime/device.h"
#include "runtime/driver_api.h"
#include "runtime/settings.h"
#include "tools/command.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;
using llvm::json::Array;
using llvm::json::Object;

cl::SubCommand explain("explain", "say which plan serves a problem, and why");
cl::opt<std::string> op("op", cl::desc(operator_help()), cl::value_desc("OP"), cl::sub(explain));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16; a comma list is allowed"), cl::value_desc("N"),
                       cl::sub(explain));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216; a comma list is allowed"), cl::value_desc("D"),
                       cl::sub(explain));
cl::opt<std::string> t("t", cl::desc("numbers of tokens T, whose estimates are shown; a comma list is allowed"),
                       cl::value_desc("T"), cl::sub(explain));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16, fp32; a comma list is allowed"),
                           cl::value_desc("DTYPE"), cl::init("bf16"), cl::sub(explain));
cl::opt<std::string> arch("arch", cl::desc("architecture, such as sm_90a; default: that of the first GPU"),
                          cl::value_desc("ARCH"), cl::sub(explain));
cl::opt<bool> gamma("gamma", cl::desc("the problems have gamma"), cl::sub(explain));
cl::opt<bool> batch_invariant("batch-invariant", cl::desc("row t has the same bits whatever T is"), cl::sub(explain));
cl::opt<bool> fp32_dx("fp32-dx", cl::desc("dx is fp32 whatever dtype is"), cl::sub(explain));
cl::opt<std::string> tuned("tuned", cl::desc("tuned record; default: $MHCJIT_TUNED"), cl::value_desc("FILE"),
                           cl::sub(explain));
cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(explain));

constexpr std::size_t shown_runners_up = 5;

// The first GPU, as an engine would see it.
llvm::Expected<runtime::Device> first_gpu(const runtime::Settings& settings) {
  auto driver = runtime::DriverApi::load(settings.driver_path);
  if (!driver) return driver.takeError();
  if (auto error = (*driver)->initialise()) return error;
  return runtime::inspect_device(**driver, 0);
}

// One problem with what an engine of this environment has for it.
struct Explained {
  codegen::Problem problem;
  std::vector<codegen::Bucket> buckets;
  std::vector<codegen::NamedCandidate> candidates;
  codegen::Device device;
  codegen::Grade grade = codegen::Grade::none;

  const codegen::Origin& origin() const { return buckets.front().origin; }
  std::string digest() const { return codegen::digest_of(problem, buckets); }

  // The cheapest legal plans but for the one that serves.
  std::vector<codegen::PlanPtr> runners_up(std::int64_t tokens) const {
    const std::string chosen = to_string(*codegen::bucket_of(buckets, tokens).plan);
    std::vector<codegen::PlanPtr> plans;
    for (const codegen::NamedCandidate& one : candidates)
      if (one.candidate.legal() && codegen::name_of(one) != chosen) plans.push_back(one.candidate.plan);
    const auto cost = [&](const codegen::PlanPtr& plan) { return plan->cost_us(tokens, device); };
    std::ranges::stable_sort(plans, {}, cost);
    plans.resize(std::min(plans.size(), shown_runners_up));
    return plans;
  }
};

Object json_of(const codegen::Plan& plan, std::int64_t tokens, const codegen::Device& device) {
  return Object{{"plan", to_string(plan)}, {"estimated_us", plan.cost_us(tokens, device)}};
}

Object json_of(const Explained& explained, const std::vector<std::int64_t>& tokens) {
  Array buckets, sizes, rejected;
  for (const codegen::Bucket& bucket : explained.buckets)
    buckets.push_back(Object{{"max_t", bucket.max_tokens}, {"plan", to_string(*bucket.plan)}});
  for (const std::int64_t T : tokens) {
    Object chosen = json_of(*codegen::bucket_of(explained.buckets, T).plan, T, explained.device);
    Array runners_up;
    for (const codegen::PlanPtr& plan : explained.runners_up(T))
      runners_up.push_back(json_of(*plan, T, explained.device));
    chosen["t"] = T;
    chosen["runners_up"] = std::move(runners_up);
    sizes.push_back(std::move(chosen));
  }
  for (const codegen::NamedCandidate& one : explained.candidates)
    if (!one.candidate.legal())
      rejected.push_back(Object{{"plan", codegen::name_of(one)}, {"reason", one.candidate.rejected}});
  const codegen::Origin& origin = explained.origin();
  return Object{{"problem", to_string(explained.problem)},
                {"source", llvm::StringRef(to_string(origin.source))},
                {"grade", llvm::StringRef(to_string(explained.grade))},
                {"row_d", origin.d},
                {"measured_on", origin.record == nullptr ? "" : origin.record->header.device},
                {"refused", origin.refused},
                {"digest", explained.digest()},
                {"buckets", std::move(buckets)},
                {"tokens", std::move(sizes)},
                {"rejected", std::move(rejected)}};
}

std::string reason_of(const Explained& explained) {
  const codegen::Origin& origin = explained.origin();
  if (origin.source == codegen::Source::estimate) return "the estimated costs";
  const std::string whose = origin.source == codegen::Source::record ? "the tuned record" : "the library";
  const std::string near = origin.d == explained.problem.d ? "" : fmt::format(", for D={}", origin.d);
  const std::string gamma = origin.has_gamma == explained.problem.has_gamma ? ""
                            : origin.has_gamma                              ? ", with gamma"
                                                                            : ", without gamma";
  return fmt::format("a row of {}, measured on {}{}{}{}", whose, origin.record->header.device, near, gamma,
                     explained.grade == codegen::Grade::other_device ? ", another kind of device" : "");
}

// The reasons of candidates that are not legal. Those that differ in numbers alone are one line with the first of them.
std::string rejections(const std::vector<codegen::NamedCandidate>& candidates) {
  struct Kind {
    int count = 0;
    std::string first;
  };
  std::map<std::string, Kind> kinds;
  for (const codegen::NamedCandidate& one : candidates) {
    if (one.candidate.legal()) continue;
    const std::string reason = fmt::format("{}: {}", one.family, one.candidate.rejected);
    std::string key = reason;
    std::erase_if(key, llvm::isDigit);
    Kind& kind = kinds[key];
    if (kind.count++ == 0) kind.first = reason;
  }
  std::string text = kinds.empty() ? "" : "  not legal, with the first of each kind of reason\n";
  for (const auto& [key, kind] : kinds) text += fmt::format("{:10} of {}\n", kind.count, kind.first);
  return text;
}

std::string text_of(const Explained& explained, const std::vector<std::int64_t>& tokens) {
  std::string text = fmt::format("{}\n  chosen by {}\n", to_string(explained.problem), reason_of(explained));
  if (!explained.origin().refused.empty()) text += fmt::format("  refused: {}\n", explained.origin().refused);
  for (const codegen::Bucket& bucket : explained.buckets)
    text += fmt::format("  T up to {:<10}  {}\n", bucket.max_tokens, to_string(*bucket.plan));
  for (const std::int64_t T : tokens) {
    const auto line = [&](const codegen::Plan& plan) {
      return fmt::format("{:10.2f} us  {}\n", plan.cost_us(T, explained.device), to_string(plan));
    };
    text += fmt::format("  T = {}, by estimate; the first serves\n", T);
    text += line(*codegen::bucket_of(explained.buckets, T).plan);
    for (const codegen::PlanPtr& plan : explained.runners_up(T)) text += line(*plan);
  }
  text += rejections(explained.candidates);
  return text + fmt::format("  digest {}\n", explained.digest());
}

llvm::Expected<std::vector<const codegen::Operator*>> asked_operators() {
  if (op.empty()) return std::vector(codegen::operators().begin(), codegen::operators().end());
  auto one = codegen::parse_operator(op.getValue());
  if (!one) return one.takeError();
  return std::vector{*one};
}

llvm::Expected<runtime::Settings> settings() {
  mhcjit_engine_options options = {};
  if (!tuned.empty()) options.tuned_path = tuned.c_str();
  options.log = log_to_stderr;
  return runtime::settings_from(options);
}

llvm::Expected<Report> run() {
  auto ops = asked_operators();
  if (!ops) return ops.takeError();
  auto settings = tools::settings();
  if (!settings) return settings.takeError();
  std::optional<runtime::Device> gpu;
  if (arch.empty()) {
    auto found = first_gpu(*settings);
    if (!found)
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--arch is missing, and no GPU says which: {}",
                        take_failure(found.takeError()).text);
    gpu = std::move(*found);
  }
  auto problems = parse_problems(
      {n, d, dtype, gpu ? to_string(gpu->architecture) : arch.getValue(), gamma, batch_invariant, fp32_dx}, *ops);
  if (!problems) return problems.takeError();
  std::vector<std::int64_t> tokens;
  if (!t.empty()) {
    auto given = parse_integers("--t", t, 1, codegen::max_tokens);
    if (!given) return given.takeError();
    tokens = std::move(*given);
  }
  // One that is asked for here must be good; an engine would go on without.
  if (!tuned.empty())
    if (auto error = runtime::read_tuned_record(tuned).takeError()) return error;

  runtime::TunedRecords records(settings->tuned_path, settings->log);
  if (gpu) records.check_device(*gpu);
  Report report;
  Array list;
  llvm::SHA256 hash;
  for (const codegen::Problem& problem : *problems) {
    auto buckets = runtime::buckets_of({problem, settings->plan}, records.of(problem.architecture));
    if (!buckets) return buckets.takeError();
    const codegen::Device& planned = codegen::device_of(problem.architecture);
    Explained explained = {problem, std::move(*buckets), codegen::candidates(problem, planned), planned};
    if (const codegen::TunedRecordPtr& record = explained.origin().record) {
      // Without a GPU, the device that the row was measured on.
      const codegen::RecordHeader& header = record->header;
      explained.grade = explained.origin().grade(problem, gpu ? gpu->name : header.device,
                                                 gpu ? gpu->planned.multiprocessors : header.multiprocessors);
    }
    report.text += text_of(explained, tokens);
    list.push_back(json_of(explained, tokens));
    hash.update(explained.digest() + "\n");
  }
  report.json = Object{{"digest", llvm::toHex(hash.final(), /*LowerCase=*/true)}, {"problems", std::move(list)}};
  return report;
}

}  // namespace

const Command& explain_command() {
  static const Command command = {
      explain,
      "--n N --d D [--t T] [--op OP] [--dtype DTYPE] [--gamma] [--batch-invariant] [--fp32-dx] [--arch ARCH]\n"
      "       [--tuned FILE] [--json]",
      "Shows for the operator, or for each, the plans that an engine of this environment has for each range of T, what "
      "they were\n"
      "chosen by (docs/tuning.md), for each --t the estimated time of the plan that serves and of those that come\n"
      "next, and why other candidates are not legal. The digest is the same wherever the plans are the same; that of\n"
      "the JSON object is over all problems. With --arch no GPU is needed.",
      "  mhcjit explain --n 4 --d 4096 --t 64 --arch sm_90a\n"
      "  mhcjit explain --n 4 --d 2560,4096 --tuned tuned.jsonl --arch sm_90a --json",
      run};
  return command;
}

}  // namespace mhcjit::tools
