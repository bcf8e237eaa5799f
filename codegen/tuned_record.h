// The record of a sweep over plans: what was tried, and which plans are to serve a problem. JSON lines, whose format
// docs/tuning.md gives; a file is only ever appended to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "codegen/problem.h"

namespace mhcjit::codegen {

// What a sweep was made with: the first line.
struct RecordHeader {
  std::string version;        // of the program
  std::string space;          // digest of the candidates
  std::string device;         // its name, as the driver has it
  Architecture architecture;  // of every problem of the record
  int multiprocessors = 0;
  std::string driver;  // "13.0", as `nvrtc`
  std::string nvrtc;
  double copy_gigabytes_per_second = 0;
  std::string created;  // "2026-11-30T20:00:00Z"

  bool operator==(const RecordHeader&) const = default;
};

enum class Outcome { measured, wrong, compile_failed, spills, faulted, hung, not_run };
std::string_view to_string(Outcome outcome);

// One plan at one T.
struct Trial {
  Problem problem;
  std::int64_t tokens = 0;
  std::string plan;  // as to_string() names it
  Outcome outcome = Outcome::not_run;
  double us = 0;  // median of the samples; this and what follows are 0 where nothing was measured
  double spread_us = 0;
  int samples = 0;
  double floor_ratio = 0;
  int sm_mhz = 0;
  std::string reason = {};  // of any outcome but measured

  bool operator==(const Trial&) const = default;
};

// A range of T and the name of its plan.
struct TunedBucket {
  std::int64_t max_tokens = 0;
  std::string plan;

  bool operator==(const TunedBucket&) const = default;
};

// What a choice rests on at one T.
struct TunedRow {
  std::int64_t tokens = 0;
  std::string plan;
  double us = 0;
  double spread_us = 0;
  // What would serve without the record.
  std::string present_plan;
  double present_us = 0;
  double present_spread_us = 0;
  double gain = 0;  // 0.05: the plan takes 5 % less time

  bool operator==(const TunedRow&) const = default;
};

// The plans that are to serve a problem.
struct TunedChoice {
  Problem problem;
  std::vector<TunedBucket> buckets;  // in rising order, the last to max_tokens
  std::vector<TunedRow> rows;

  bool operator==(const TunedChoice&) const = default;
};

// The most plans of a choice.
inline constexpr std::size_t max_plans = 3;

struct TunedRecord {
  RecordHeader header;
  std::vector<Trial> trials;
  std::vector<TunedChoice> choices;  // of each problem the last
  std::size_t whole_bytes = 0;       // of the text: what follows is a line cut short, to be cut off before another
};

using TunedRecordPtr = std::shared_ptr<const TunedRecord>;

enum class Trials { read, passed_over };

// What the text of a record says. Trials that are passed over cost next to nothing. `file` is what errors call it.
// A last line that is cut short, without its newline or no JSON, is passed over. Errors: BAD_FILE with the line's
// number, also where the first line is no header of this schema or is cut short.
llvm::Expected<TunedRecord> parse_record(llvm::StringRef file, llvm::StringRef text, Trials trials = Trials::read);

// As lines of a record, each with its newline.
std::string to_line(const RecordHeader& header);
std::string to_line(const Trial& trial);
std::string to_line(const TunedChoice& choice);

}  // namespace mhcjit::codegen
