// The machine lies: its clock is ten years off, or was when an entry was written; the cache folder is another user's,
// not by a fault that is injected but by chown.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <ctime>

#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

constexpr std::int64_t ten_years = std::int64_t{10} * 365 * 24 * 3600;

void set_times(const std::string& path, std::int64_t unix_seconds) {
  const timespec times[2] = {{unix_seconds, 0}, {unix_seconds, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0) << path;
}

TEST(Clock, TenYearsOffMakesNoEntryInvalid) {
  for (const std::int64_t shift : {-ten_years, ten_years}) {
    const test::TemporaryFolder folder;
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options());
    const std::int64_t then = std::time(nullptr) + shift;
    std::vector<Sample> all;
    for (unsigned seed = 1; seed <= 4; ++seed) {
      Sample made = sample(seed);
      made.entry.created_unix_seconds = then;
      ASSERT_TRUE(cache.publish(made.key, made.entry));
      set_times(folder / entry_name(made.key), then);
      all.push_back(made);
    }
    set_times(folder.path(), then);
    for (const Sample& made : all) {
      EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry) << shift;
      EXPECT_EQ(DiskCache(folder.path(), warnings.options()).find(made.key, "sm_90a"), made.entry) << shift;
    }
    // What is written now replaces what is of another decade, older or younger.
    const Sample again = sample(1, 2);
    EXPECT_TRUE(cache.publish(again.key, again.entry));
    EXPECT_EQ(cache.find(again.key, "sm_90a"), again.entry) << shift;
    EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
    EXPECT_EQ(names_ending(folder.path(), "").size(), 4u);
  }
}

class Owner : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "NOT RUN: only root can give a folder to another user";
  }

  static constexpr uid_t stranger = 12345;
  const test::TemporaryFolder folder;
  const Sample made = sample();
  Warnings warnings;
};

TEST_F(Owner, AFolderThatIsReallyAnotherUsersIsNotUsed) {
  ASSERT_TRUE(DiskCache(folder.path()).publish(made.key, made.entry));
  ASSERT_EQ(::chown(folder.path().c_str(), stranger, stranger), 0);
  DiskCache cache(folder.path(), warnings.options());
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  const Sample more = sample(2);
  EXPECT_FALSE(cache.publish(more.key, more.entry));
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("is owned by user 12345, it should be owned by user 0"), std::string::npos)
      << warnings.lines()[0];
  EXPECT_EQ(names_ending(folder.path(), ""), std::vector<std::string>{entry_name(made.key)}) << "a stranger's folder "
                                                                                                "was changed";
}

TEST_F(Owner, AnEntryThatIsReallyAnotherUsersIsSetAside) {
  DiskCache cache(folder.path(), warnings.options());
  ASSERT_TRUE(cache.publish(made.key, made.entry));
  ASSERT_EQ(::chown((folder / entry_name(made.key)).c_str(), stranger, stranger), 0);
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_EQ(cache.counters().corrupt_entries, 1u);
  EXPECT_EQ(names_ending(folder.path(), ".bad").size(), 1u);
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
  EXPECT_EQ(warnings.lines().size(), 1u);
}

}  // namespace
}  // namespace mhcjit::cache
