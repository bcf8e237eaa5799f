// How far a warm-up is, for the person or the log that reads stderr.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace mhcjit::tools {

struct WarmupCounts {
  std::size_t total = 0;
  std::size_t compiled = 0;
  std::size_t hits = 0;
  std::size_t failed = 0;

  std::size_t done() const { return compiled + hits + failed; }
};

// Time until the last kernel, if the rest takes as long as what was compiled so far: hits cost next to nothing and say
// nothing about the rest. Nothing before the first compile.
std::optional<std::chrono::seconds> time_left(const WarmupCounts& counts, std::chrono::steady_clock::duration elapsed);

// "12/40, 10 compiled, 2 hits, 0 failed, 1 min 04 s left"
std::string describe(const WarmupCounts& counts, std::chrono::steady_clock::duration elapsed);

// Makes no output and reads no clock: the caller does both. One thread.
class WarmupProgress {
 public:
  enum class Style {
    bar,   // one line, written over and over: for a terminal
    lines  // a line every 10 s: for a log
  };

  WarmupProgress(Style style, std::chrono::steady_clock::time_point start)
      : style_(style), start_(start), last_(start) {}

  // The text to write now, "" for nothing.
  std::string update(const WarmupCounts& counts, std::chrono::steady_clock::time_point now);

  // The text that makes room for other output: the bar goes away until the next update.
  std::string clear();

 private:
  const Style style_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
  bool bar_shows_ = false;
};

}  // namespace mhcjit::tools
