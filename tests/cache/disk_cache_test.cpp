// The life of an entry when nothing is wrong: found after it is published, by every later process, under its key alone.
#include "cache/disk_cache.h"

#include <sys/stat.h>

#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

TEST(DiskCache, FindsWhatWasPublishedAlsoFromAnotherCache) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "a/b/root";
  Warnings warnings;
  const Sample first = sample(1), second = sample(2, 2);
  {
    DiskCache cache(root, warnings.options());
    EXPECT_FALSE(cache.find(first.key, "sm_90a"));
    EXPECT_FALSE(std::filesystem::exists(folder / "a")) << "a look-up made the folder";
    EXPECT_TRUE(cache.publish(first.key, first.entry));
    EXPECT_TRUE(cache.publish(second.key, second.entry));
    EXPECT_EQ(cache.find(first.key, "sm_90a"), first.entry);
    const Counters counters = cache.counters();
    EXPECT_EQ(counters.misses, 1u);
    EXPECT_EQ(counters.hits, 1u);
    EXPECT_EQ(counters.publishes, 2u);
  }
  DiskCache later(root, warnings.options());
  EXPECT_EQ(later.find(second.key, "sm_90a"), second.entry);
  EXPECT_EQ(later.find(first.key, "sm_90a"), first.entry);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
  EXPECT_EQ(mode_of(root), 0700u);
  EXPECT_EQ(mode_of(folder / "a"), 0700u);
  EXPECT_EQ(mode_of(root + "/" + entry_name(first.key)) & 022, 0u);
  EXPECT_EQ(names_ending(root, "").size(), 2u) << "something beside the two entries";
}

TEST(DiskCache, PublishReplacesTheEntryOfTheSameKey) {
  const test::TemporaryFolder folder;
  DiskCache cache(folder.path());
  const Sample old_one = sample(1, 1), new_one = sample(1, 2);
  ASSERT_NE(old_one.entry, new_one.entry);
  EXPECT_TRUE(cache.publish(old_one.key, old_one.entry));
  EXPECT_TRUE(cache.publish(new_one.key, new_one.entry));
  EXPECT_EQ(cache.find(old_one.key, "sm_90a"), new_one.entry);
  EXPECT_EQ(names_ending(folder.path(), "").size(), 1u) << "something beside the entry";
}

TEST(DiskCache, InvalidateSetsTheEntryAside) {
  const test::TemporaryFolder folder;
  Warnings warnings;
  DiskCache cache(folder.path(), warnings.options());
  const Sample made = sample();
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_TRUE(cache.invalidate(made.key));
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_EQ(names_ending(folder.path(), ".bad").size(), 1u);
  EXPECT_EQ(cache.counters().corrupt_entries, 1u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_EQ(warnings.lines()[0], "cache entry '" + (folder / entry_name(made.key)) +
                                     "' is not used and is set aside, its kernel is compiled again: the driver refused "
                                     "its cubin");
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
}

TEST(DiskCache, WithoutARootHoldsNothingAndSaysNothing) {
  Warnings warnings;
  FaultyFileOps ops;
  int calls = 0;
  ops.before = [&](std::string_view) { return ++calls, 0; };
  DiskCache cache("", warnings.options(), ops);
  const Sample made = sample();
  EXPECT_FALSE(cache.publish(made.key, made.entry));
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_TRUE(cache.invalidate(made.key));
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(cache.counters().publish_failures, 0u);
  EXPECT_EQ(cache.counters().corrupt_entries, 0u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST(DiskCache, ARelativeRootStaysWhereItWasWhenTheProcessMoves) {
  const test::TemporaryFolder folder, elsewhere;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  DiskCache cache("root");
  std::filesystem::current_path(elsewhere.path());
  const Sample made = sample();
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
  std::filesystem::current_path(before);
  EXPECT_TRUE(std::filesystem::exists(folder / "root/" + entry_name(made.key)));
  EXPECT_EQ(elsewhere.file_count(), 0);
}

TEST(DiskCache, DoesNotWriteWhatItWouldNotRead) {
  const test::TemporaryFolder folder;
  const Sample made = sample();
  const auto refused = [&](const std::string& reason, auto&& change) {
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options());
    Entry entry = made.entry;
    change(entry);
    EXPECT_FALSE(cache.publish(made.key, entry));
    EXPECT_EQ(cache.counters().publish_failures, 1u);
    ASSERT_EQ(warnings.lines().size(), 1u);
    EXPECT_EQ(warnings.lines()[0], "a compiled kernel is not kept in the cache folder '" + folder.path() +
                                       "', the next process compiles it again: " + reason);
  };
  refused("cubin: SM number is 90, it should be 80", [](Entry& entry) { entry.architecture = "sm_80"; });
  refused("cubin: segment table of length 5 is 280 bytes at offset 3424, it should end within the file's 3703",
          [](Entry& entry) {
            Bytes& cubin = entry.kernels[0].cubin;
            cubin = cubin.part(llvm::StringRef(cubin).drop_back());
          });
  refused("cache entry: key text is another key's (0 bytes), it should be that of " + made.key.digest(),
          [](Entry& entry) { entry.key_text.clear(); });
  refused("cache entry: registers is 4294967295, it should be 0 to 2147483647",
          [](Entry& entry) { entry.kernels[0].resources.registers = -1; });
  EXPECT_EQ(folder.file_count(), 0);
}

TEST(DiskCache, FlushesTheFileAndTheFolderBeforeItsName) {
  const test::TemporaryFolder folder;
  const Sample made = sample();
  const auto calls_of_publish = [&](bool flush) {
    std::string calls;
    FaultyFileOps ops;
    ops.before = [&](std::string_view call) { return calls.append(call).append(" "), 0; };
    Warnings warnings;
    EXPECT_TRUE(DiskCache(folder.path(), warnings.options(flush), ops).publish(made.key, made.entry));
    return calls;
  };
  EXPECT_EQ(calls_of_publish(true), "stat random open write fsync close open fsync close rename ");
  EXPECT_EQ(calls_of_publish(false), "stat random open write close rename ");
}

}  // namespace
}  // namespace mhcjit::cache
