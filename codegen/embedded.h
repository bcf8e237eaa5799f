// The shipped records as text.
#pragma once

#include <span>
#include <string_view>

namespace mhcjit::codegen {

struct EmbeddedRecord {
  const char* name;  // "sm_90a.jsonl"
  std::string_view text;
};

// All of them, ordered by name.
std::span<const EmbeddedRecord> embedded_records();

}  // namespace mhcjit::codegen
