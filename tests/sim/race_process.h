// Runs a program that was built with ThreadSanitizer.
#pragma once

#include <string>
#include <vector>

namespace mhcjit::test {

// The exit code of a program in which ThreadSanitizer saw a race.
inline constexpr int race_exit_code = 66;

struct Finished {
  int exit_code = -1;
  std::string output;  // stdout and stderr
};

// The program ends at its first race. `options` are more of ThreadSanitizer's, as TSAN_OPTIONS has them.
Finished run_under_thread_sanitizer(const std::string& program, std::vector<std::string> arguments,
                                    const std::string& options = "");

}  // namespace mhcjit::test
