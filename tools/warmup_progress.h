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

}  // namespace mhcjit::tools
