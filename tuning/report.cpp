#include "tuning/report.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "tuning/decide.h"
#include "tuning/plan_name.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using codegen::SizedProblem;
using codegen::Trial;

std::map<std::string, std::vector<Trial>> by_plan(const std::vector<Trial>& trials) {
  std::map<std::string, std::vector<Trial>> plans;
  for (const Trial& trial : trials) plans[trial.plan].push_back(trial);
  return plans;
}

// Shades a ratio to the best time: light is fast.
std::string_view shade(double ratio) {
  if (ratio < 1.02) return " ";
  if (ratio < 1.05) return "░";
  if (ratio < 1.15) return "▒";
  if (ratio < 1.4) return "▓";
  return "█";
}

}  // namespace

std::string table_of(const codegen::TunedRecord& record) {
  const codegen::RecordHeader& header = record.header;
  std::string text =
      fmt::format("{}, {}, driver of CUDA {}, NVRTC {}, a plain copy: {:.0f} GB/s\n", header.device,
                  to_string(header.architecture), header.driver, header.nvrtc, header.copy_gigabytes_per_second);
  std::size_t rows = 0, changed = 0;
  for (const codegen::TunedChoice& choice : record.choices) {
    text += fmt::format("\n{}\n  {:>8} {:>10} {:>8} {:>10} {:>8} {:>7}  {}\n", to_string(choice.problem), "T", "us",
                        "+-", "present us", "+-", "gain", "plan");
    for (const codegen::TunedRow& row : choice.rows) {
      const bool stays = row.plan == row.present_plan;
      ++rows;
      changed += stays ? 0 : 1;
      text += fmt::format("  {:>8} {:>10.2f} {:>8.2f} {:>10.2f} {:>8.2f} {:>7}  {}\n", row.tokens, row.us,
                          row.spread_us, row.present_us, row.present_spread_us,
                          stays ? "-" : fmt::format("{:.1f} %", 100 * row.gain), row.plan);
    }
  }
  std::map<Outcome, std::size_t> outcomes;
  for (const Trial& trial : record.trials) ++outcomes[trial.outcome];
  text += fmt::format("\nanother plan at {} of {} numbers of tokens; {} trials", changed, rows, record.trials.size());
  for (const auto& [outcome, count] : outcomes)
    if (outcome != Outcome::measured) text += fmt::format(", {} {}", count, codegen::to_string(outcome));
  return text + "\n";
}

std::string heat_map_of(const SizedProblem& shape, const std::vector<Trial>& trials, std::string_view across,
                        std::string_view down) {
  std::map<std::pair<std::int64_t, std::int64_t>, double> cells;
  std::set<std::int64_t> columns, lines;
  double best = 0;
  for (const auto& [plan, of_plan] : by_plan(trials)) {
    const std::map<std::string, std::int64_t> parameters = parameters_of(plan);
    const auto column = parameters.find(std::string(across)), line = parameters.find(std::string(down));
    const std::optional<Result> result = result_of(of_plan);
    if (column == parameters.end() || line == parameters.end() || !result) continue;
    columns.insert(column->second);
    lines.insert(line->second);
    double& cell = cells.try_emplace({line->second, column->second}, result->us).first->second;
    cell = std::min(cell, result->us);
    if (best == 0 || cell < best) best = cell;
  }
  if (cells.empty()) return "";
  std::string text = fmt::format("{}: best {:.2f} us; {} across, {} down\n", to_string(shape), best, across, down);
  const std::size_t width = 9;
  text += fmt::format("{:>{}}", "", width);
  for (const std::int64_t column : columns) text += fmt::format("{:>{}}", column, width);
  for (const std::int64_t line : lines) {
    text += fmt::format("\n{:>{}}", line, width);
    for (const std::int64_t column : columns) {
      const auto cell = cells.find({line, column});
      if (cell == cells.end()) {
        text += fmt::format("{:>{}}", ".", width);
        continue;
      }
      const double ratio = cell->second / best;
      text += fmt::format("{:>{}.2f} {}{}", ratio, width - 3, shade(ratio), shade(ratio));
    }
  }
  return text + "\n";
}

std::pair<std::string, std::string> widest_axes(const std::vector<Trial>& trials) {
  std::map<std::string, std::set<std::int64_t>> values;
  for (const Trial& trial : trials)
    for (const auto& [name, value] : parameters_of(trial.plan)) values[name].insert(value);
  std::vector<std::string> names;
  for (const auto& [name, taken] : values)
    if (taken.size() > 1) names.push_back(name);
  std::ranges::stable_sort(names, std::greater<>(), [&](const std::string& name) { return values[name].size(); });
  if (names.size() < 2) return {};
  return {names[0], names[1]};
}

}  // namespace mhcjit::tuning
