// A container image brings a warm cache that nobody may write: its entries are found, copied to the user's own folder,
// and never touched, whatever is wrong with them.
#include <algorithm>

#include <fmt/format.h>
#include <sys/stat.h>

#include "cache/tiered_cache.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

// Each file of the folder with its inode, mode, times and bytes.
std::vector<std::string> listing(const std::string& folder) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& path) {
    struct stat status = {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    lines.push_back(fmt::format("{} {} {:o} {}.{} {}.{} {}", path, status.st_ino, status.st_mode, status.st_mtim.tv_sec,
                                status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
                                S_ISREG(status.st_mode) ? test::read_file(path) : ""));
  };
  add(folder);
  for (const auto& item : std::filesystem::directory_iterator(folder)) add(item.path().string());
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::optional<Entry> entry_of(std::optional<TieredCache::Found> found) {
  if (!found) return std::nullopt;
  return std::move(found->entry);
}

class Tiers : public ::testing::Test {
 protected:
  TierOptions options(std::vector<std::string> read_only_roots) {
    TierOptions options;
    options.folders = warnings.options(/*flush=*/false);
    options.read_only_roots = std::move(read_only_roots);
    return options;
  }

  static void publish(const std::string& root, const Sample& made) {
    EXPECT_TRUE(DiskCache(root).publish(made.key, made.entry));
  }

  test::TemporaryFolder folder;
  const std::string own = folder / "own", image = folder / "image", other = folder / "other";
  Warnings warnings;
};

TEST_F(Tiers, AHitBelowIsPromotedAndFoundAboveTheNextTime) {
  const Sample made = sample();
  publish(image, made);
  const std::vector<std::string> before = listing(image);
  TieredCache cache(own, options({folder / "absent", image}));
  const std::optional<TieredCache::Found> below = cache.find(made.key, "sm_90a");
  ASSERT_TRUE(below);
  EXPECT_EQ(below->entry, made.entry);
  EXPECT_EQ(below->tier, Tier::read_only);
  EXPECT_TRUE(below->promoted);
  const std::optional<TieredCache::Found> above = cache.find(made.key, "sm_90a");
  ASSERT_TRUE(above);
  EXPECT_EQ(above->entry, made.entry);
  EXPECT_EQ(above->tier, Tier::writable);
  EXPECT_FALSE(above->promoted);
  const TierCounters counters = cache.counters();
  EXPECT_EQ(counters.read_only_hits, 1u);
  EXPECT_EQ(counters.promotions, 1u);
  EXPECT_EQ(counters.writable.hits, 1u);
  EXPECT_EQ(test::read_file(own + "/" + entry_name(made.key)), test::read_file(image + "/" + entry_name(made.key)));
  EXPECT_EQ(listing(image), before);
  EXPECT_EQ(entry_of(TieredCache(own).find(made.key, "sm_90a")), made.entry) << "it outlives the image";
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

// It is there as long as the library is.
TEST_F(Tiers, WhatIsInstalledIsFoundLastAndNotCopied) {
  const Sample everywhere = sample(1, 1), installed = sample(2, 2);
  publish(image, everywhere);
  publish(other, sample(1, 3));
  publish(other, installed);
  TierOptions with_installed = options({image});
  with_installed.installed_root = other;
  TieredCache cache(own, with_installed);
  EXPECT_EQ(entry_of(cache.find(everywhere.key, "sm_90a")), everywhere.entry);
  const std::optional<TieredCache::Found> found = cache.find(installed.key, "sm_90a");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->entry, installed.entry);
  EXPECT_EQ(found->tier, Tier::read_only);
  EXPECT_FALSE(found->promoted);
  EXPECT_FALSE(TieredCache(own).find(installed.key, "sm_90a"));
  EXPECT_EQ(cache.counters().read_only_hits, 2u);
  EXPECT_EQ(cache.counters().promotions, 1u);
  EXPECT_EQ(cache.roots(), (std::vector{own, image, other}));
}

TEST_F(Tiers, TheFirstFolderThatHasTheEntryGivesIt) {
  const Sample first = sample(1, 1), second = sample(1, 2);
  publish(image, first);
  publish(other, second);
  EXPECT_EQ(entry_of(TieredCache("", options({image, other})).find(first.key, "sm_90a")), first.entry);
  EXPECT_EQ(entry_of(TieredCache("", options({other, image})).find(first.key, "sm_90a")), second.entry);
  publish(own, second);
  EXPECT_EQ(entry_of(TieredCache(own, options({image})).find(first.key, "sm_90a")), second.entry);
}

TEST_F(Tiers, ABadEntryBelowIsPassedOverWhereItLies) {
  const Sample made = sample();
  publish(image, made);
  publish(other, made);
  const std::string path = image + "/" + entry_name(made.key);
  std::string bytes = test::read_file(path);
  bytes[bytes.size() / 2] ^= 1;
  test::write_file(path, bytes);
  const std::vector<std::string> before = listing(image);

  TieredCache cache(own, options({image, other}));
  EXPECT_EQ(entry_of(cache.find(made.key, "sm_90a")), made.entry) << "the next folder has it";
  EXPECT_EQ(cache.counters().corrupt_entries, 1u);
  TieredCache alone("", options({image}));
  EXPECT_FALSE(alone.find(made.key, "sm_90a"));
  EXPECT_FALSE(alone.find(made.key, "sm_90a"));
  EXPECT_EQ(alone.counters().corrupt_entries, 2u);
  EXPECT_EQ(listing(image), before) << "it was set aside or repaired";
  ASSERT_EQ(warnings.lines().size(), 2u) << "one for each cache";
  EXPECT_EQ(warnings.lines()[0].find("entry '" + path + "' of a read-only cache folder is passed over: "), 0u)
      << warnings.lines()[0];
}

TEST_F(Tiers, NothingIsWrittenBelow) {
  publish(image, sample(1));
  const std::vector<std::string> before = listing(image);
  TieredCache cache(own, options({image}));
  const Sample made = sample(2);
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_TRUE(cache.invalidate(sample(1).key));
  EXPECT_EQ(listing(image), before);
  Options read_only;
  read_only.read_only = true;
  DiskCache direct(image, read_only);
  EXPECT_FALSE(direct.publish(made.key, made.entry));
  EXPECT_FALSE(direct.invalidate(sample(1).key));
  EXPECT_FALSE(direct.make_root());
  EXPECT_EQ(listing(image), before);
}

// As in a container: the user may not write the image, and the folder of the user is on a full or read-only disk.
TEST_F(Tiers, WithoutAFolderOfItsOwnTheImageStillServes) {
  const Sample made = sample();
  publish(image, made);
  ASSERT_EQ(::chmod(image.c_str(), 0555), 0);
  const std::vector<std::string> before = listing(image);
  test::write_file(own, "a file where the folder should be");
  TieredCache cache(own, options({image}));
  for (int time = 0; time < 3; ++time) EXPECT_EQ(entry_of(cache.find(made.key, "sm_90a")), made.entry);
  EXPECT_EQ(cache.counters().read_only_hits, 3u);
  EXPECT_EQ(cache.counters().promotions, 0u);
  EXPECT_EQ(warnings.lines().size(), 1u) << "one folder cannot be used, and that is said once";
  EXPECT_EQ(listing(image), before);
}

TEST_F(Tiers, AFolderThatOthersMayWriteIsNotUsedAndNamesItsVariable) {
  const Sample made = sample();
  publish(image, made);
  ASSERT_EQ(::chmod(image.c_str(), 0777), 0);
  TieredCache cache(own, options({image}));
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("MHCJIT_CACHE_RO"), std::string::npos) << warnings.lines()[0];
}

}  // namespace
}  // namespace mhcjit::cache
