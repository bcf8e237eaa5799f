// The cache folder itself is bad: another user's, writable by all, not writable, full, gone, no folder at all. The
// cache is then off, says so once, and nothing else happens.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include "tests/cache/child.h"
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace fs = std::filesystem;

constexpr int child_passed = 0, child_failed = 1, child_cannot = 2;

std::string unusable(const std::string& root, const std::string& reason) {
  return fmt::format(
      "cache folder '{}' is not used, compiled kernels are kept in memory only: {}; make it usable or name another in "
      "MHCJIT_CACHE_DIR",
      root, reason);
}

// publish() and find() twice each: no entry, one warning, every publish counted.
void expect_off(DiskCache& cache, const Warnings& warnings, const std::string& warning) {
  const Sample made = sample();
  for (int time = 0; time < 2; ++time) {
    EXPECT_FALSE(cache.publish(made.key, made.entry));
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  }
  EXPECT_EQ(cache.counters().publish_failures, 2u);
  EXPECT_EQ(cache.counters().misses, 2u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{warning});
}

TEST(Root, WritableByOthersIsRefusedUnlessOptedIn) {
  const test::TemporaryFolder folder;
  for (const mode_t mode : {0777, 01777, 0770, 0702}) {
    ASSERT_EQ(::chmod(folder.path().c_str(), mode), 0);
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options());
    expect_off(
        cache, warnings,
        unusable(folder.path(), fmt::format("'{}' is writable by other users, it should be writable by its owner "
                                            "alone (chmod go-w)",
                                            folder.path())));
    EXPECT_EQ(folder.file_count(), 0);
  }
  Options shared;
  shared.allow_shared_root = true;
  const Sample made = sample();
  DiskCache opted_in(folder.path(), shared);
  EXPECT_TRUE(opted_in.publish(made.key, made.entry));
  EXPECT_EQ(opted_in.find(made.key, "sm_90a"), made.entry);

  Warnings warnings;
  DiskCache wary(folder.path(), warnings.options());
  EXPECT_FALSE(wary.find(made.key, "sm_90a")) << "an entry that anybody could have written was used";
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  EXPECT_EQ(wary.find(made.key, "sm_90a"), made.entry) << "readable by others is no harm, and is noticed at once";
}

TEST(Root, OfAnotherUserIsRefusedUnlessOptedIn) {
  const test::TemporaryFolder folder;
  FaultyFileOps ops;
  ops.folder_owner = ::geteuid() + 1;
  Warnings warnings;
  Options options = warnings.options();
  DiskCache cache(folder.path(), options, ops);
  expect_off(cache, warnings,
             unusable(folder.path(), fmt::format("'{}' is owned by user {}, it should be owned by user {} or 0",
                                                 folder.path(), ::geteuid() + 1, ::geteuid())));
  EXPECT_EQ(folder.file_count(), 0);

  options.allow_shared_root = true;
  const Sample made = sample();
  EXPECT_TRUE(DiskCache(folder.path(), options, ops).publish(made.key, made.entry));
  ops.folder_owner = 0;
  EXPECT_EQ(DiskCache(folder.path(), {}, ops).find(made.key, "sm_90a"), made.entry) << "root's folder is trusted";
}

TEST(Root, ThatIsAFileIsRefused) {
  const test::TemporaryFolder folder;
  test::write_file(folder / "file", "precious");
  {
    Warnings warnings;
    DiskCache cache(folder / "file", warnings.options());
    expect_off(cache, warnings,
               unusable(folder / "file", fmt::format("'{}' is not a folder, it should be a folder", folder / "file")));
  }
  Warnings warnings;
  DiskCache below(folder / "file/root", warnings.options());
  expect_off(below, warnings,
             unusable(folder / "file/root", fmt::format("stat of '{}' failed: Not a directory", folder / "file/root")));
  EXPECT_EQ(test::read_file(folder / "file"), "precious");
}

TEST(Root, ThatIsRemovedWhileInUseComesBack) {
  const test::TemporaryFolder folder;
  Warnings warnings;
  DiskCache cache(folder / "root", warnings.options());
  const Sample made = sample();
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  fs::remove_all(folder / "root");
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

// Root may write everywhere, so root's run of this test is made by another user.
TEST(Root, WithoutWritePermissionStillServesItsEntries) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "root";
  const Sample made = sample(1), more = sample(2);
  ASSERT_TRUE(DiskCache(root).publish(made.key, made.entry));
  fs::permissions(folder.path(), static_cast<fs::perms>(0755));
  fs::permissions(root, static_cast<fs::perms>(0555));
  const int status = status_of_child([&] {
    constexpr uid_t nobody = 65534;
    if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 || ::setuid(nobody) != 0)) {
      return child_cannot;
    }
    Warnings warnings;
    DiskCache cache(root, warnings.options());
    const bool right = !cache.publish(more.key, more.entry) && !cache.publish(more.key, more.entry) &&
                       cache.counters().publish_failures == 2 && warnings.lines().size() == 1 &&
                       warnings.lines()[0].ends_with("failed: Permission denied") &&
                       cache.find(made.key, "sm_90a") == made.entry;
    return right ? child_passed : child_failed;
  });
  fs::permissions(root, static_cast<fs::perms>(0755));
  if (status == child_cannot) GTEST_SKIP() << "NOT RUN: root cannot become another user here";
  EXPECT_EQ(status, child_passed);
  EXPECT_EQ(names_ending(root, "").size(), 1u);
}

TEST(Root, OnAFullDiskKeepsTheOldEntry) {
  const test::TemporaryFolder folder;
  const Sample old_entry = sample(1, 1);
  Sample big = sample(1, 2);
  std::mt19937_64 random(7);
  big.entry.kernels[1].cubin = big.entry.kernels[1].cubin.str() + random_bytes(random, 100000);
  const int status = status_of_child([&] {
    if (::unshare(CLONE_NEWNS | (::geteuid() == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k,mode=0700") != 0) {
      return child_cannot;
    }
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options());
    const bool right = cache.publish(old_entry.key, old_entry.entry) && !cache.publish(big.key, big.entry) &&
                       cache.find(big.key, "sm_90a") == old_entry.entry && warnings.lines().size() == 1 &&
                       warnings.lines()[0].ends_with("failed: No space left on device") &&
                       names_ending(folder.path(), ".mhcjit").size() == 1 &&
                       names_ending(folder.path(), ".tmp").empty();
    return right ? child_passed : child_failed;
  });
  if (status == child_cannot) GTEST_SKIP() << "NOT RUN: this user cannot mount a 64 KB disk here";
  EXPECT_EQ(status, child_passed);
}

}  // namespace
}  // namespace mhcjit::cache
