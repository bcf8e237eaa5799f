#include "tools/warmup_progress.h"

#include <fmt/format.h>

#include "tools/progress_line.h"

namespace mhcjit::tools {

using std::chrono::steady_clock;

std::optional<std::chrono::seconds> time_left(const WarmupCounts& counts, steady_clock::duration elapsed) {
  if (counts.done() >= counts.total) return std::chrono::seconds(0);
  const std::size_t attempts = counts.compiled + counts.failed;
  if (attempts == 0) return std::nullopt;
  const double remaining = static_cast<double>(counts.total - counts.done());
  return std::chrono::ceil<std::chrono::seconds>(elapsed / static_cast<double>(attempts) * remaining);
}

std::string describe(const WarmupCounts& counts, steady_clock::duration elapsed) {
  const auto left = time_left(counts, elapsed);
  return fmt::format("{}/{}, {} compiled, {} hits, {} failed, {}", counts.done(), counts.total, counts.compiled,
                     counts.hits, counts.failed, left ? to_text(*left) + " left" : "time left unknown");
}

}  // namespace mhcjit::tools
