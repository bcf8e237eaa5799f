// Made-up records.
#pragma once

#include "codegen/choose.h"
#include "codegen/tuned_record.h"

namespace mhcjit::codegen {

inline RecordHeader made_up_header(const Architecture& architecture = {9, 0, 'a'}) {
  return {"0.1.0", "ab12", "Made-up GPU", architecture, 100, "13.0", "12.9", 4236.5, "2026-11-30T20:00:00Z"};
}

inline TunedRecordPtr record_of(std::vector<TunedChoice> choices, const Architecture& architecture = {9, 0, 'a'}) {
  TunedRecord record;
  record.header = made_up_header(architecture);
  record.choices = std::move(choices);
  return std::make_shared<const TunedRecord>(std::move(record));
}

// The text of a record.
inline std::string text_of(const TunedRecord& record) {
  std::string text = to_line(record.header);
  for (const Trial& trial : record.trials) text += to_line(trial);
  for (const TunedChoice& choice : record.choices) text += to_line(choice);
  return text;
}

}  // namespace mhcjit::codegen
