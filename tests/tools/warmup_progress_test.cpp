// What a warm-up says while it runs: the time left counts compiles, not hits, and a log gets a line every 10 s; and how
// many compiles it starts on a small machine.
#include "tools/warmup_progress.h"

#include <gtest/gtest.h>

#include "tools/progress_line.h"
#include "tools/warmup_jobs.h"

namespace mhcjit::tools {
namespace {

using namespace std::chrono_literals;

const auto start = std::chrono::steady_clock::time_point() + 1000s;

TEST(WarmupProgress, TheTimeLeftIsThatOfTheCompiles) {
  EXPECT_EQ(time_left({40, 10, 0, 0}, 20s), 60s);
  EXPECT_EQ(time_left({40, 10, 10, 0}, 20s), 40s) << "hits are done and take no time";
  EXPECT_EQ(time_left({40, 5, 0, 5}, 20s), 60s) << "what failed took its time";
  EXPECT_EQ(time_left({40, 0, 39, 0}, 20s), std::nullopt);
  EXPECT_EQ(time_left({40, 0, 0, 0}, 20s), std::nullopt);
  EXPECT_EQ(time_left({40, 20, 19, 1}, 20s), 0s);
  EXPECT_EQ(time_left({3, 2, 0, 0}, 1s), 1s) << "half a second is not nothing";
}

std::string update(ProgressLine& progress, const WarmupCounts& counts, std::chrono::steady_clock::time_point now) {
  return progress.update(counts.done(), counts.total, describe(counts, now - start), now);
}

TEST(WarmupProgress, ALogGetsALineEveryTenSeconds) {
  ProgressLine progress(ProgressLine::Style::lines, start);
  EXPECT_EQ(update(progress, {40, 1, 0, 0}, start + 1s), "");
  EXPECT_EQ(update(progress, {40, 9, 0, 0}, start + 9s), "");
  EXPECT_EQ(update(progress, {40, 10, 2, 0}, start + 10s), "mhcjit: 12/40, 10 compiled, 2 hits, 0 failed, 28 s left\n");
  EXPECT_EQ(update(progress, {40, 11, 2, 0}, start + 11s), "");
  EXPECT_EQ(update(progress, {400, 20, 2, 1}, start + 21s),
            "mhcjit: 23/400, 20 compiled, 2 hits, 1 failed, 6 min 17 s left\n");
  EXPECT_EQ(update(progress, {20000, 30, 0, 0}, start + 40s),
            "mhcjit: 30/20000, 30 compiled, 0 hits, 0 failed, 7 h 23 min left\n");
  EXPECT_EQ(progress.clear(), "");
}

TEST(WarmupProgress, ATerminalGetsOneLineThatGoesAway) {
  ProgressLine progress(ProgressLine::Style::bar, start);
  EXPECT_EQ(progress.clear(), "");
  EXPECT_EQ(update(progress, {4, 0, 0, 0}, start),
            "\r\x1b[Kmhcjit: [------------------------] 0/4, 0 compiled, 0 hits, 0 failed, time left unknown");
  EXPECT_EQ(update(progress, {4, 1, 0, 0}, start + 3s),
            "\r\x1b[Kmhcjit: [######------------------] 1/4, 1 compiled, 0 hits, 0 failed, 9 s left");
  EXPECT_EQ(update(progress, {4, 2, 1, 1}, start + 5s),
            "\r\x1b[Kmhcjit: [########################] 4/4, 2 compiled, 1 hits, 1 failed, 0 s left");
  EXPECT_EQ(progress.clear(), "\r\x1b[K");
  EXPECT_EQ(progress.clear(), "");
}

TEST(WarmupJobs, AreLimitedByCoresAndMemory) {
  constexpr std::uint64_t gigabyte = 1'000'000'000;
  EXPECT_EQ(default_jobs(16, 64 * gigabyte), 16);
  EXPECT_EQ(default_jobs(64, 2 * gigabyte), 4);
  EXPECT_EQ(default_jobs(64, 250'000'000), 1);
  EXPECT_EQ(default_jobs(0, 0), 1);
  EXPECT_EQ(default_jobs(1000, 1000 * gigabyte), 256);
  EXPECT_GT(available_memory_bytes(), 0u) << "neither /proc/meminfo nor a cgroup could be read";
}

}  // namespace
}  // namespace mhcjit::tools
