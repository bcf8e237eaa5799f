#include "support/trace.h"

#include <fmt/format.h>

namespace mhcjit {

std::string to_string(const TraceEvent& event) {
  return fmt::format("event={} problem=\"{}\" digest={} tier={} ms={}", event.event, event.problem, event.digest,
                     event.tier, event.milliseconds ? fmt::format("{:.3f}", *event.milliseconds) : "-");
}

}  // namespace mhcjit
