// The folder is kept within bounds without losing what is in use, whatever the clock says, and while threads and
// processes find and publish in it.
#include <atomic>
#include <ctime>
#include <set>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "cache/prune.h"
#include "support/error.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

constexpr std::int64_t minute = 60;
constexpr std::int64_t hour = 60 * minute;
constexpr std::int64_t ten_years = 10 * 365 * 24 * hour;
constexpr std::int64_t now = 1'700'000'000;

void set_time(const std::string& path, std::int64_t unix_seconds) {
  const timespec times[2] = {{unix_seconds, 0}, {unix_seconds, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
}

std::int64_t time_of(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  return status.st_mtim.tv_sec;
}

PruneReport pruned(const std::string& root, const PruneOptions& options) {
  llvm::Expected<PruneReport> report = prune(root, options);
  if (!report) {
    ADD_FAILURE() << llvm::toString(report.takeError());
    return {};
  }
  EXPECT_EQ(report->failures, std::vector<std::string>{});
  return std::move(*report);
}

Options unflushed() {
  Options options;
  options.flush = false;
  return options;
}

std::string digest_of(unsigned seed) { return sample(seed).key.digest(); }

// Entries 0, 1, ... of which entry 0 was used last, `step` before now, and each other one `step` before the one above.
class Prune : public testing::Test {
 protected:
  void fill(unsigned count, std::int64_t step = 20 * minute) {
    DiskCache cache(root(), unflushed());
    for (unsigned entry = 0; entry < count; ++entry) {
      const Sample one = sample(entry);
      ASSERT_TRUE(cache.publish(one.key, one.entry));
      set_time(path(entry), now - step * (entry + 1));
    }
  }

  std::string root() const { return folder_.path(); }
  std::string path(unsigned entry) const { return folder_ / entry_name(sample(entry).key); }
  bool has(unsigned entry) const { return std::filesystem::exists(path(entry)); }
  std::size_t entries() const { return names_ending(root(), ".mhcjit").size(); }

  static PruneOptions at_most(std::uint64_t entries) {
    return {.limits = {.max_entries = entries}, .now_unix_seconds = now, .in_use = {}};
  }

  const test::TemporaryFolder folder_;
};

TEST_F(Prune, LeastRecentlyUsedGoDownToTheWatermark) {
  fill(12);
  const PruneReport report = pruned(root(), at_most(10));
  EXPECT_EQ(report.entries, 12u);
  EXPECT_EQ(report.removed_digests, (std::vector{digest_of(11), digest_of(10), digest_of(9), digest_of(8)}));
  for (unsigned entry = 0; entry < 12; ++entry) EXPECT_EQ(has(entry), entry < 8) << entry;
  EXPECT_EQ(names_ending(root(), "").size(), 8u) << "something is left aside";
}

TEST_F(Prune, WithinTheLimitsNothingGoes) {
  fill(10);
  EXPECT_TRUE(pruned(root(), at_most(10)).removed_digests.empty());
  EXPECT_EQ(entries(), 10u);
}

TEST_F(Prune, SizeIsBoundedInBlocks) {
  fill(10);
  std::uint64_t total = 0;
  for (unsigned entry = 0; entry < 10; ++entry) {
    struct stat status = {};
    ASSERT_EQ(::stat(path(entry).c_str(), &status), 0);
    total += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  PruneOptions options = at_most(100);
  options.limits.max_bytes = total;
  EXPECT_TRUE(pruned(root(), options).removed_digests.empty());
  options.limits.max_bytes = total - total / 20;
  const PruneReport report = pruned(root(), options);
  EXPECT_EQ(report.entry_disk_bytes, total);
  // All are of one size: 80 % of nine and a half are seven.
  EXPECT_EQ(report.removed_digests.size(), 3u);
  EXPECT_EQ(report.removed_disk_bytes, total / 10 * 3);
  EXPECT_TRUE(has(6) && !has(7));
}

TEST_F(Prune, YoungEntriesStayOverTheLimit) {
  fill(12, minute);
  const PruneReport report = pruned(root(), at_most(0));
  EXPECT_EQ(report.removed_digests.size(), 3u);  // of 12, 11 and 10 minutes
  for (unsigned entry = 0; entry < 12; ++entry) EXPECT_EQ(has(entry), entry < 9) << entry;
}

TEST_F(Prune, EntriesInUseStay) {
  fill(12);
  PruneOptions options = at_most(10);
  const std::set<std::string> used = {digest_of(11), digest_of(9)};
  options.in_use = [&](llvm::StringRef digest) { return used.count(digest.str()) > 0; };
  EXPECT_EQ(pruned(root(), options).removed_digests,
            (std::vector{digest_of(10), digest_of(8), digest_of(7), digest_of(6)}));
}

TEST_F(Prune, DryRunSaysTheSameAndChangesNothing) {
  fill(12);
  set_time(path(3), now + ten_years);
  const std::string leftover = folder_ / (digest_of(1) + ".0123456789abcdef.tmp");
  test::write_file(leftover, "cut");
  set_time(leftover, now - 2 * hour);
  PruneOptions options = at_most(10);
  options.dry_run = true;
  const PruneReport dry = pruned(root(), options);
  EXPECT_EQ(entries(), 12u);
  EXPECT_TRUE(std::filesystem::exists(leftover));
  EXPECT_EQ(time_of(path(3)), now + ten_years);
  options.dry_run = false;
  const PruneReport wet = pruned(root(), options);
  EXPECT_EQ(dry.removed_digests, wet.removed_digests);
  EXPECT_EQ(dry.removed_disk_bytes, wet.removed_disk_bytes);
  EXPECT_EQ(dry.removed_leftovers, 1u);
  EXPECT_EQ(wet.removed_leftovers, 1u);
  EXPECT_EQ(dry.removed_digests.size(), 4u);
  EXPECT_FALSE(std::filesystem::exists(leftover));
}

// Written while the clock stood ten years ahead, such entries must neither go at once nor stay for ten years.
TEST_F(Prune, TimesTenYearsAheadBecomeNow) {
  fill(12);
  for (unsigned entry = 0; entry < 12; ++entry) set_time(path(entry), now + ten_years - entry);
  EXPECT_TRUE(pruned(root(), at_most(10)).removed_digests.empty());
  for (unsigned entry = 0; entry < 12; ++entry) EXPECT_EQ(time_of(path(entry)), now);
  PruneOptions later = at_most(10);
  later.now_unix_seconds = now + 11 * minute;
  EXPECT_EQ(pruned(root(), later).removed_digests.size(), 4u);
}

TEST_F(Prune, ClockTenYearsAheadKeepsTheOrderAndTheWatermark) {
  fill(12);
  PruneOptions options = at_most(10);
  options.now_unix_seconds = now + ten_years;
  EXPECT_EQ(pruned(root(), options).removed_digests.size(), 4u);
  EXPECT_TRUE(has(7) && !has(8));
}

TEST_F(Prune, ClockTenYearsBackRemovesNothing) {
  fill(12);
  PruneOptions options = at_most(0);
  options.now_unix_seconds = now - ten_years;
  EXPECT_TRUE(pruned(root(), options).removed_digests.empty());
  EXPECT_EQ(entries(), 12u);
}

TEST_F(Prune, LeftoversGoAfterAnHour) {
  fill(1);
  const std::string random = ".0123456789abcdef";
  const std::string old_tmp = folder_ / (digest_of(5) + random + ".tmp"),
                    new_tmp = folder_ / (digest_of(6) + random + ".tmp");
  const std::string old_bad = folder_ / (digest_of(5) + random + ".bad"),
                    old_folder = folder_ / (digest_of(7) + random + ".bad");
  const std::string future = folder_ / (digest_of(8) + random + ".tmp"), foreign = folder_ / "notes.tmp";
  for (const std::string& file : {old_tmp, new_tmp, old_bad, future, foreign}) test::write_file(file, "bytes");
  std::filesystem::create_directory(old_folder);
  for (const std::string& file : {old_tmp, old_bad, old_folder, foreign}) set_time(file, now - hour);
  set_time(new_tmp, now - hour + 1);
  set_time(future, now + ten_years);
  EXPECT_EQ(pruned(root(), at_most(100)).removed_leftovers, 3u);
  EXPECT_FALSE(std::filesystem::exists(old_tmp) || std::filesystem::exists(old_bad) ||
               std::filesystem::exists(old_folder));
  EXPECT_TRUE(std::filesystem::exists(new_tmp) && std::filesystem::exists(future) && std::filesystem::exists(foreign));
  EXPECT_TRUE(has(0));
  PruneOptions later = at_most(100);
  later.now_unix_seconds = now + hour;
  EXPECT_EQ(pruned(root(), later).removed_leftovers, 2u);
}

TEST_F(Prune, ASourceThatTheCompilerRefusedStaysForAWeek) {
  fill(1);
  const std::string source = folder_ / kept_source_name(digest_of(5), "pre_forward");
  test::write_file(source, "refused");
  set_time(source, now - 7 * 24 * hour + 1);
  EXPECT_EQ(pruned(root(), at_most(100)).removed_leftovers, 0u);
  set_time(source, now - 7 * 24 * hour);
  EXPECT_EQ(pruned(root(), at_most(100)).removed_leftovers, 1u);
  EXPECT_FALSE(std::filesystem::exists(source));
}

TEST_F(Prune, WhatIsNotTheCachesStays) {
  fill(3);
  for (const char* name : {"compiler_identity", "README", "a.mhcjit"}) {
    test::write_file(folder_ / name, "bytes");
    set_time(folder_ / name, now - ten_years);
  }
  std::filesystem::create_directory(folder_ / "failed");
  EXPECT_EQ(pruned(root(), at_most(0)).removed_digests.size(), 3u);
  EXPECT_EQ(names_ending(root(), "").size(), 4u);
}

TEST_F(Prune, EntryUsedOrReplacedAfterTheScanStays) {
  fill(3);
  llvm::Expected<StoreScan> scan = scan_store(root());
  ASSERT_TRUE(static_cast<bool>(scan)) << llvm::toString(scan.takeError());
  set_time(path(0), now);  // used
  const Sample replaced = sample(1, 2);
  ASSERT_TRUE(DiskCache(root(), unflushed()).publish(replaced.key, replaced.entry));
  const PruneReport report = remove_files(root(), scan->entries, {}, /*dry_run=*/false);
  EXPECT_EQ(report.removed_digests, std::vector{digest_of(2)});
  EXPECT_TRUE(has(0) && has(1));
  EXPECT_EQ(DiskCache(root()).find(replaced.key, "sm_90a"), replaced.entry);
  EXPECT_EQ(names_ending(root(), ".bad"), std::vector<std::string>{});
}

TEST_F(Prune, AbsentFolderIsNoFailure) {
  const PruneReport report = pruned(folder_ / "absent", at_most(0));
  EXPECT_EQ(report.entries, 0u);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "absent"));
}

TEST_F(Prune, FileThatCannotBeRemovedIsReported) {
  fill(1);
  std::filesystem::remove(path(0));
  std::filesystem::create_directory(path(0));
  test::write_file(path(0) + "/inside", "bytes");
  set_time(path(0), now - hour);
  llvm::Expected<PruneReport> report = prune(root(), at_most(0));
  ASSERT_TRUE(static_cast<bool>(report)) << llvm::toString(report.takeError());
  ASSERT_EQ(report->failures.size(), 1u);
  EXPECT_NE(report->failures[0].find("remove of '" + root()), std::string::npos) << report->failures[0];
  EXPECT_TRUE(report->removed_digests.empty());
}

TEST_F(Prune, AHitMakesAnEntryRecentAtMostOnceAnHour) {
  DiskCache cache(root(), unflushed());
  const Sample one = sample(0);
  ASSERT_TRUE(cache.publish(one.key, one.entry));
  const std::int64_t real_now = std::time(nullptr);
  for (const std::int64_t age : {-ten_years, ten_years, 2 * hour}) {
    set_time(path(0), real_now - age);
    EXPECT_EQ(cache.find(one.key, "sm_90a"), one.entry);
    EXPECT_NEAR(static_cast<double>(time_of(path(0))), static_cast<double>(real_now), 60) << age;
  }
  set_time(path(0), real_now - 30 * minute);
  EXPECT_EQ(cache.find(one.key, "sm_90a"), one.entry);
  EXPECT_EQ(time_of(path(0)), real_now - 30 * minute);
}

TEST_F(Prune, FirstPublishOfAProcessTrimsAndSparesWhatItUses) {
  fill(12);
  for (unsigned entry = 0; entry < 12; ++entry) set_time(path(entry), std::time(nullptr) - 20 * minute - entry);
  Options options = unflushed();
  options.limits.max_entries = 10;
  std::vector<std::string> traced;
  options.log = Log([&](mhcjit_log_level, std::string_view line) { traced.emplace_back(line); }, MHCJIT_LOG_TRACE);
  DiskCache cache(root(), options);
  const Sample oldest = sample(11), added = sample(20), another = sample(21);
  EXPECT_TRUE(cache.find(oldest.key, "sm_90a"));
  ASSERT_TRUE(cache.publish(added.key, added.entry));
  EXPECT_EQ(entries(), 8u);
  EXPECT_TRUE(has(11) && has(20)) << "entries that this process uses";
  EXPECT_TRUE(has(0) && !has(10));
  EXPECT_EQ(traced.size(), 5u) << "a line for each entry that went";
  EXPECT_EQ(std::count(traced.begin(), traced.end(),
                       "event=evict problem=\"-\" digest=" + sample(10).key.digest() + " tier=disk ms=-"),
            1);
  fill(12);
  ASSERT_TRUE(cache.publish(another.key, another.entry));
  EXPECT_EQ(entries(), 14u) << "the second trim is an hour away";
}

// One step of a user of the folder: find, and publish what is missing.
bool use(DiskCache& cache, const Sample& one) {
  const std::optional<Entry> found = cache.find(one.key, "sm_90a");
  if (found) return *found == one.entry;
  return cache.publish(one.key, one.entry);
}

// Every entry counts as old, so that each round removes whatever it sees; no temporary does.
PruneOptions everything() {
  return {.limits = {.max_entries = 2}, .now_unix_seconds = std::time(nullptr) + 30 * minute, .in_use = {}};
}

std::vector<Sample> samples(unsigned count) {
  std::vector<Sample> made;
  for (unsigned seed = 0; seed < count; ++seed) made.push_back(sample(seed));
  return made;
}

TEST_F(Prune, EightThreadsFindAndPublishWhileTheFolderIsTrimmed) {
  const std::vector<Sample> all = samples(12);
  Warnings warnings;
  DiskCache cache(root(), warnings.options(/*flush=*/false));
  std::atomic<int> wrong{0}, running{8};
  // The users go on until this many are removed: on a busy machine they can otherwise be done before the first trim.
  constexpr std::size_t enough = 30;
  std::atomic<std::size_t> removed{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(thread);
      for (int step = 0; step < 100 || (removed < enough && step < 1'000'000); ++step)
        wrong += use(cache, all[random() % all.size()]) ? 0 : 1;
      --running;
    });
  }
  do {
    llvm::Expected<PruneReport> report = prune(root(), everything());
    ASSERT_TRUE(static_cast<bool>(report)) << llvm::toString(report.takeError());
    removed += report->removed_digests.size();
  } while (running > 0);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(removed, enough);
  EXPECT_EQ(cache.counters().corrupt_entries, 0u);
  EXPECT_EQ(cache.counters().read_failures, 0u);
  EXPECT_EQ(cache.counters().publish_failures, 0u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Prune, FourProcessesFindAndPublishWhileTwoTrim) {
  const std::vector<Sample> all = samples(12);
  expect_children_succeed(6, [&](int process) {
    bool right = true;
    DiskCache cache(root(), unflushed());
    std::mt19937_64 random(process);
    for (int step = 0; step < 100 && right; ++step) {
      if (process < 4) {
        right = use(cache, all[random() % all.size()]);
      } else if (llvm::Expected<PruneReport> report = prune(root(), everything()); !report) {
        llvm::consumeError(report.takeError());
        right = false;
      }
    }
    return right && cache.counters().corrupt_entries == 0 ? 0 : 1;
  });
}

}  // namespace
}  // namespace mhcjit::cache
