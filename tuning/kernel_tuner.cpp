#include "tuning/kernel_tuner.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codegen/operator.h"
#include "tuning/decide.h"
#include "tuning/plan_name.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using codegen::SizedProblem;
using codegen::Trial;
using llvm::json::Array;
using llvm::json::Object;

// T4's words for why a configuration is no valid one.
llvm::StringRef invalidity_of(Outcome outcome) {
  switch (outcome) {
    case Outcome::measured: return "correct";
    case Outcome::wrong: return "correctness";
    case Outcome::compile_failed: return "compile";
    case Outcome::spills:
    case Outcome::not_run: return "constraints";
    case Outcome::faulted: return "runtime";
    case Outcome::hung: return "timeout";
  }
  return "runtime";
}

double milliseconds(double us) { return us * 1e-3; }

Object configuration_of(const Trial& trial) {
  const codegen::Problem& problem = trial.problem;
  Object configuration{{"op", llvm::StringRef(problem.op->name)},
                       {"n", problem.n},
                       {"d", problem.d},
                       {"dtype", llvm::StringRef(to_string(problem.dtype))},
                       {"gamma", problem.has_gamma},
                       {"batch_invariant", problem.batch_invariant},
                       {"fp32_dx", problem.has_fp32_dx},
                       {"t", trial.tokens},
                       {"family", family_of(trial.plan).str()}};
  for (const auto& [name, value] : parameters_of(trial.plan)) configuration[name] = value;
  return configuration;
}

// `trials` are all of one plan at one T.
Object result_object(const std::vector<Trial>& trials) {
  const std::optional<Result> result = result_of(trials);
  Array runtimes, measurements;
  Outcome outcome = Outcome::measured;
  for (const Trial& trial : trials) {
    if (trial.outcome == Outcome::measured)
      runtimes.push_back(milliseconds(trial.us));
    else
      outcome = trial.outcome;
  }
  if (result) {
    measurements.push_back(Object{{"name", "time"}, {"value", milliseconds(result->us)}, {"unit", "ms"}});
    measurements.push_back(Object{{"name", "spread"}, {"value", milliseconds(result->spread_us)}, {"unit", "ms"}});
  }
  return Object{{"configuration", configuration_of(trials.front())},
                {"times", Object{{"runtimes", std::move(runtimes)}}},
                {"invalidity", invalidity_of(outcome)},
                {"correctness", outcome == Outcome::measured ? 1 : 0},
                {"measurements", std::move(measurements)},
                {"objectives", Array{"time"}}};
}

}  // namespace

Object kernel_tuner_results(const codegen::TunedRecord& record) {
  std::map<std::pair<SizedProblem, std::string>, std::size_t> places;
  std::vector<std::vector<Trial>> tried;
  for (const Trial& trial : record.trials) {
    const std::pair<SizedProblem, std::string> key = {{trial.problem, trial.tokens}, trial.plan};
    const auto [place, is_new] = places.try_emplace(key, tried.size());
    if (is_new) tried.emplace_back();
    tried[place->second].push_back(trial);
  }
  Array results;
  for (const std::vector<Trial>& trials : tried) results.push_back(result_object(trials));
  const codegen::RecordHeader& header = record.header;
  return Object{{"schema_version", "1.0.0"},
                {"metadata", Object{{"timeunit", "milliseconds"},
                                    {"device", llvm::json::fixUTF8(header.device)},
                                    {"architecture", to_string(header.architecture)},
                                    {"driver", header.driver},
                                    {"nvrtc", header.nvrtc},
                                    {"mhcjit", header.version}}},
                {"results", std::move(results)}};
}

}  // namespace mhcjit::tuning
