// How far a command is, for the person or the log that reads stderr.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace mhcjit::tools {

// "1 min 04 s"
std::string to_text(std::chrono::seconds time);

// Makes no output and reads no clock: the caller does both. One thread.
class ProgressLine {
 public:
  enum class Style {
    bar,   // one line, written over and over: for a terminal
    lines  // a line every 10 s: for a log
  };

  // That which fits stderr.
  static Style style();

  ProgressLine(Style style, std::chrono::steady_clock::time_point start) : style_(style), last_(start) {}

  // The text to write now, "" for nothing.
  std::string update(std::size_t done, std::size_t total, const std::string& text,
                     std::chrono::steady_clock::time_point now);

  // The text that makes room for other output: the bar goes away until the next update.
  std::string clear();

 private:
  const Style style_;
  std::chrono::steady_clock::time_point last_;
  bool bar_shows_ = false;
};

// Writes what one of them has made.
void write_progress(const std::string& text);

}  // namespace mhcjit::tools
