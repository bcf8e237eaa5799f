#include "support/trace.h"

#include <fmt/format.h>

namespace mhcjit {
namespace {

std::string_view or_dash(std::string_view text) { return text.empty() ? "-" : text; }

}  // namespace

std::string to_string(const TraceEvent& event) {
  return fmt::format("event={} problem=\"{}\" digest={} tier={} ms={}", event.event, or_dash(event.problem),
                     or_dash(event.digest), or_dash(event.tier),
                     event.milliseconds ? fmt::format("{:.3f}", *event.milliseconds) : "-");
}

}  // namespace mhcjit
