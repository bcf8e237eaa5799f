// One line for each event that decides how long a kernel takes to be ready (docs/observability.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "support/log.h"

namespace mhcjit {

// "-" stands for what is not known or does not apply.
struct TraceEvent {
  std::string_view event;  // a word
  std::string_view problem = "-";
  std::string_view digest = "-";
  std::string_view tier = "-";
  std::optional<double> milliseconds = std::nullopt;
};

// `event=hit problem="OPERATOR n=4 D=4096 bf16 sm_90a" digest=0a1b tier=disk ms=0.031`: always these fields in this
// order.
std::string to_string(const TraceEvent& event);

// Costs a comparison where the log does not want traces; a caller that has to make its fields asks wants() first.
inline void trace(const Log& log, const TraceEvent& event) {
  if (log.wants(MHCJIT_LOG_TRACE)) log(MHCJIT_LOG_TRACE, to_string(event));
}

}  // namespace mhcjit
