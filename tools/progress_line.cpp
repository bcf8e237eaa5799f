#include "tools/progress_line.h"

#include <cstdio>

#include <unistd.h>

#include <fmt/format.h>

namespace mhcjit::tools {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::seconds line_interval(10);
constexpr std::size_t bar_width = 24;
constexpr const char* erase_line = "\r\x1b[K";

}  // namespace

std::string to_text(std::chrono::seconds time) {
  const auto count = time.count();
  if (count < 60) return fmt::format("{} s", count);
  if (count < 3600) return fmt::format("{} min {:02} s", count / 60, count % 60);
  return fmt::format("{} h {:02} min", count / 3600, count / 60 % 60);
}

ProgressLine::Style ProgressLine::style() { return ::isatty(STDERR_FILENO) != 0 ? Style::bar : Style::lines; }

std::string ProgressLine::update(std::size_t done, std::size_t total, const std::string& text,
                                 steady_clock::time_point now) {
  if (style_ == Style::lines) {
    if (now - last_ < line_interval) return "";
    last_ = now;
    return fmt::format("mhcjit: {}\n", text);
  }
  bar_shows_ = true;
  const std::size_t filled = total == 0 ? bar_width : bar_width * done / total;
  return fmt::format("{}mhcjit: [{:#<{}}{:-<{}}] {}", erase_line, "", filled, "", bar_width - filled, text);
}

std::string ProgressLine::clear() {
  if (!bar_shows_) return "";
  bar_shows_ = false;
  return erase_line;
}

void write_progress(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace mhcjit::tools
