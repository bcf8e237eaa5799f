// The commands on records: `tune report`, `tune merge`, `tune export`.
#include <map>

#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include "tools/command.h"
#include "tools/options.h"
#include "tuning/kernel_tuner.h"
#include "tuning/merge.h"
#include "tuning/record_file.h"
#include "tuning/report.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;
using codegen::TunedRecord;

cl::SubCommand report("tune report", "what a tuned record says");
cl::list<std::string> reported(cl::Positional, cl::desc("record"), cl::sub(report));
cl::opt<bool> heat_map("heat-map", cl::desc("a map of each T over two launch parameters"), cl::sub(report));
cl::opt<std::string> axes("axes", cl::desc("the two of the map; default: those that took the most values"),
                          cl::value_desc("NAME,NAME"), cl::sub(report));

cl::SubCommand merge("tune merge", "make one record of those of a sweep's shards");
cl::list<std::string> merged(cl::Positional, cl::desc("records"), cl::sub(merge));

cl::opt<bool> choices("choices", cl::desc("the choices alone, for a library that ships them"), cl::sub(merge));

cl::SubCommand export_("tune export", "print a record's trials in the format of another program");
cl::list<std::string> exported(cl::Positional, cl::desc("record"), cl::sub(export_));
cl::opt<std::string> format("format", cl::desc("kernel-tuner, which is the default"), cl::value_desc("NAME"),
                            cl::init("kernel-tuner"), cl::sub(export_));

cl::opt<bool> json("json", cl::desc("print one JSON object on stdout"), cl::sub(report), cl::sub(merge),
                   cl::sub(export_));

llvm::json::Object json_of(const TunedRecord& record) {
  llvm::json::Array choices;
  for (const codegen::TunedChoice& choice : record.choices)
    choices.push_back(
        std::move(*llvm::cantFail(llvm::json::parse(to_line(choice))).getAsObject()->getObject("choice")));
  return llvm::json::Object{{"header", llvm::cantFail(llvm::json::parse(to_line(record.header)))},
                            {"trials", static_cast<std::int64_t>(record.trials.size())},
                            {"choices", std::move(choices)}};
}

using Axes = std::pair<std::string, std::string>;

// Returns the axes of --axes; nothing if each row uses its own.
llvm::Expected<std::optional<Axes>> asked_axes() {
  if (axes.empty()) return std::nullopt;
  const auto [across, down] = llvm::StringRef(axes).split(',');
  if (!across.empty() && !down.empty()) return Axes(across.str(), down.str());
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--axes is '{}', allowed: two launch parameters, NAME,NAME",
                    axes.getValue());
}

std::string heat_maps_of(const TunedRecord& record, const std::optional<Axes>& asked) {
  std::map<codegen::SizedProblem, std::vector<codegen::Trial>> rows;
  for (const codegen::Trial& trial : record.trials) rows[{trial.problem, trial.tokens}].push_back(trial);
  std::string text;
  for (const auto& [shape, trials] : rows) {
    const auto& [across, down] = asked ? *asked : tuning::widest_axes(trials);
    if (const std::string map = tuning::heat_map_of(shape, trials, across, down); !map.empty()) text += "\n" + map;
  }
  return text;
}

llvm::Expected<TunedRecord> read_one(const cl::list<std::string>& files) {
  if (files.size() != 1)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} records are given, allowed: 1", files.size());
  auto record = tuning::read_record_file(files.front());
  if (!record) return record.takeError();
  if (!*record) return make_error(MHCJIT_ERROR_IO, "'{}' is not there, or empty", files.front());
  return std::move(**record);
}

llvm::Expected<Report> run_report() {
  auto map_axes = asked_axes();
  if (!map_axes) return map_axes.takeError();
  auto record = read_one(reported);
  if (!record) return record.takeError();
  Report said = {exit_ok, json_of(*record), tuning::table_of(*record)};
  if (heat_map || *map_axes) said.text += heat_maps_of(*record, *map_axes);
  return said;
}

llvm::Expected<Report> run_export() {
  if (format != "kernel-tuner")
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--format is '{}', allowed: kernel-tuner", format.getValue());
  auto record = read_one(exported);
  if (!record) return record.takeError();
  Report said = {exit_ok, tuning::kernel_tuner_results(*record), ""};
  llvm::raw_string_ostream(said.text) << llvm::json::Value(llvm::json::Object(said.json)) << "\n";
  return said;
}

llvm::Expected<Report> run_merge() {
  if (merged.size() < 2)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} files are given, allowed: the one to make, then one or more",
                      merged.size());
  const std::vector<std::string> files(merged.begin(), merged.end());
  auto record = tuning::merge_records(files.front(), std::span(files).subspan(1),
                                      choices ? tuning::Parts::choices : tuning::Parts::all);
  if (!record) return record.takeError();
  return Report{exit_ok, json_of(*record), tuning::table_of(*record)};
}

}  // namespace

const Command& tune_report_command() {
  static const Command command = {report, "FILE [--heat-map] [--axes NAME,NAME] [--json]",
                                  "Prints each choice of the record: the plan of each T with its time, beside that of "
                                  "the plan that serves\nwithout a record. A dash for a gain: that plan stays.",
                                  "  mhcjit tune report tuned.jsonl\n"
                                  "  mhcjit tune report tuned.jsonl --axes cluster_size,tokens_per_tile",
                                  run_report};
  return command;
}

const Command& tune_merge_command() {
  static const Command command = {merge, "OUT IN [IN...] [--choices] [--json]",
                                  "Makes OUT of the trials of the others, which are of one program, device, driver and "
                                  "NVRTC, and decides anew\nwhich plans serve. OUT must not be there yet.",
                                  "  mhcjit tune merge tuned.jsonl part-0.jsonl part-1.jsonl\n"
                                  "  mhcjit tune merge shipped.jsonl tuned.jsonl --choices",
                                  run_merge};
  return command;
}

const Command& tune_export_command() {
  static const Command command = {
      export_, "FILE [--format NAME] [--json]",
      "Prints what was tried as one JSON object on stdout. kernel-tuner: the results file of "
      "Kernel Tuner and of\nthe tools that share it (T4), times in milliseconds.",
      "  mhcjit tune export tuned.jsonl\n  mhcjit tune export tuned.jsonl --format kernel-tuner", run_export};
  return command;
}

}  // namespace mhcjit::tools
