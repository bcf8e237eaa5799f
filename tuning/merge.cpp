#include "tuning/merge.h"

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "support/error.h"
#include "tuning/decide.h"
#include "tuning/record_file.h"

namespace mhcjit::tuning {
namespace {

using codegen::SizedProblem;
using codegen::Trial;
using Rows = std::map<SizedProblem, std::vector<Trial>>;

Rows rows_of(const std::vector<Trial>& trials) {
  Rows rows;
  for (const Trial& trial : trials) rows[{trial.problem, trial.tokens}].push_back(trial);
  return rows;
}

}  // namespace

llvm::Expected<codegen::TunedRecord> merge_records(const std::string& output, std::span<const std::string> inputs,
                                                   Parts parts) {
  std::optional<codegen::RecordHeader> header;
  Rows rows;
  for (const std::string& input : inputs) {
    auto record = read_record_file(input);
    if (!record) return record.takeError();
    if (!*record) return make_error(MHCJIT_ERROR_IO, "'{}' is not there, or empty", input);
    if (!header) header = (*record)->header;
    if (auto error = check_same_kind(input, (*record)->header, *header)) return error;
    for (auto& [shape, trials] : rows_of((*record)->trials))
      if (std::vector<Trial>& known = rows[shape]; known.size() < trials.size()) known = std::move(trials);
  }
  codegen::TunedRecord merged = {*header, {}, {}, 0};
  for (auto& [shape, trials] : rows) merged.trials.insert(merged.trials.end(), trials.begin(), trials.end());
  merged.choices = decide_all(merged.trials);
  std::string text = to_line(merged.header);
  if (parts == Parts::all)
    for (const Trial& trial : merged.trials) text += to_line(trial);
  for (const codegen::TunedChoice& choice : merged.choices) text += to_line(choice);
  if (auto error = make_record_file(output, text)) return error;
  return merged;
}

}  // namespace mhcjit::tuning
