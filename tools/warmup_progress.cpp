#include "tools/warmup_progress.h"

#include <fmt/format.h>

namespace mhcjit::tools {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds line_interval(10);
constexpr std::size_t bar_width = 24;
constexpr const char* erase_line = "\r\x1b[K";

std::string to_text(std::chrono::seconds time) {
  const auto count = time.count();
  if (count < 60) return fmt::format("{} s", count);
  if (count < 3600) return fmt::format("{} min {:02} s", count / 60, count % 60);
  return fmt::format("{} h {:02} min", count / 3600, count / 60 % 60);
}

}  // namespace

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

std::string WarmupProgress::update(const WarmupCounts& counts, steady_clock::time_point now) {
  const std::string text = describe(counts, now - start_);
  if (style_ == Style::lines) {
    if (now - last_ < line_interval) return "";
    last_ = now;
    return fmt::format("mhcjit: {}\n", text);
  }
  bar_shows_ = true;
  const std::size_t filled = counts.total == 0 ? bar_width : bar_width * counts.done() / counts.total;
  return fmt::format("{}mhcjit: [{:#<{}}{:-<{}}] {}", erase_line, "", filled, "", bar_width - filled, text);
}

std::string WarmupProgress::clear() {
  if (!bar_shows_) return "";
  bar_shows_ = false;
  return erase_line;
}

}  // namespace mhcjit::tools
