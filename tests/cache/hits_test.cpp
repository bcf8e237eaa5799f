// The hits of an entry are counted in a file beside it: each of them, whoever has it, and whatever is wrong with that
// file costs the count and never the hit.
#include <functional>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <fmt/format.h>

#include "cache/hit_log.h"
#include "cache/prune.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace fs = std::filesystem;

class Hits : public ::testing::Test {
 protected:
  Hits() {
    for (const Sample& one : all) EXPECT_TRUE(DiskCache(root).publish(one.key, one.entry));
  }

  bool find(const Sample& one) const {
    DiskCache cache(root, warnings.options());
    return cache.find(one.key, "sm_90a") == one.entry;
  }
  std::int64_t hits(const Sample& one) const { return hits_of(read_hits(root), one.key.digest()); }
  std::string line_of(const Sample& one) const { return one.key.digest().substr(0, 16); }

  test::TemporaryFolder folder;
  const std::string root = folder / "root", file = root + "/hits";
  const std::vector<Sample> all = {sample(1), sample(2), sample(3)};
  mutable Warnings warnings;
};

TEST_F(Hits, OfProcessesAtTheSameTimeAreAllCounted) {
  expect_children_succeed(4, [&](int) {
    DiskCache cache(root);
    bool right = true;
    for (int time = 0; time < 200; ++time) {
      right = right && cache.find(all[0].key, "sm_90a");
      if (time % 2 == 0) right = right && cache.find(all[1].key, "sm_90a");
    }
    return right ? 0 : 1;
  });
  EXPECT_EQ(hits(all[0]), 800);
  EXPECT_EQ(hits(all[1]), 400);
  EXPECT_EQ(hits(all[2]), 0);
}

TEST_F(Hits, OfAReadOnlyFolderAndMissesAreNone) {
  EXPECT_FALSE(find(sample(9)));
  test::write_file(root + "/" + entry_name(all[1].key), "damage");
  EXPECT_FALSE(find(all[1]));
  Options read_only;
  read_only.read_only = true;
  EXPECT_TRUE(DiskCache(root, read_only).find(all[0].key, "sm_90a"));
  EXPECT_FALSE(fs::exists(file));
}

TEST_F(Hits, AreNotWrittenToWhatStandsInTheFilesPlace) {
  const std::string precious = folder / "precious";
  test::write_file(precious, "precious");
  const std::vector<std::function<int()>> others = {
      [&] { return ::symlink(precious.c_str(), file.c_str()); }, [&] { return ::link(precious.c_str(), file.c_str()); },
      [&] { return ::symlink((folder / "absent").c_str(), file.c_str()); }, [&] { return ::mkdir(file.c_str(), 0700); },
      [&] { return ::mkfifo(file.c_str(), 0600); }};
  for (std::size_t other = 0; other < others.size(); ++other) {
    ASSERT_EQ(others[other](), 0) << other;
    const int reader = ::open(file.c_str(), O_RDONLY | O_NONBLOCK);  // a FIFO's, so that it could be written
    EXPECT_TRUE(find(all[0])) << other;
    if (fs::is_fifo(file)) {
      char byte = 0;
      EXPECT_EQ(::read(reader, &byte, 1), 0);
    }
    if (reader >= 0) ::close(reader);
    EXPECT_EQ(test::read_file(precious), "precious") << other;
    EXPECT_FALSE(fs::exists(folder / "absent"));
    EXPECT_EQ(hits(all[0]), 0) << other;
    fs::remove(file);
  }
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

// A process whose files may not grow gets a signal for each write, which would end it.
TEST_F(Hits, UnderALimitOfFileSizeCostNoSignal) {
  const int status = status_of_child([&] {
    const rlimit none = {0, 0};
    return ::setrlimit(RLIMIT_FSIZE, &none) == 0 && find(all[0]) ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(hits(all[0]), 0);
}

TEST_F(Hits, LinesThatAreNoneArePassedOver) {
  const std::string name = line_of(all[0]);
  test::write_file(file, name + "\n" + name + " 40\n" + name.substr(1) + "\nx" + name.substr(1) + "\n" + name +
                             " -1\n" + name + " 2x\n" + name + " 99999999999999999999\n\n" + line_of(all[1]) + "\n" +
                             name.substr(0, 5));
  EXPECT_EQ(hits(all[0]), 41);
  EXPECT_EQ(hits(all[1]), 1);
  EXPECT_TRUE(find(all[0])) << "its line is glued to the one that was cut";
  EXPECT_TRUE(find(all[0]));
  EXPECT_EQ(hits(all[0]), 42);
}

TEST_F(Hits, GoWithTheirEntries) {
  for (int time = 0; time < 3; ++time)
    for (const Sample& one : all) EXPECT_TRUE(find(one));
  const StoreScan scan = llvm::cantFail(scan_store(root));
  ASSERT_EQ(scan.entries.size(), 3u);
  const auto remove = [&](std::size_t entry, bool dry_run) {
    EXPECT_EQ(remove_files(root, {scan.entries[entry]}, {}, dry_run).removed_digests.size(), 1u);
  };
  remove(0, /*dry_run=*/true);
  for (const Sample& one : all) EXPECT_EQ(hits(one), 3);
  remove(0, /*dry_run=*/false);
  const HitCounts counts = read_hits(root);
  EXPECT_EQ(counts.size(), 2u);
  for (const Sample& one : all)
    EXPECT_EQ(hits_of(counts, one.key.digest()), entry_name(one.key) == scan.entries[0].name ? 0 : 3);
  remove(1, /*dry_run=*/false);
  remove(2, /*dry_run=*/false);
  EXPECT_EQ(names_ending(root, ""), std::vector<std::string>{});
}

TEST_F(Hits, OfManyLinesAreAddedUpByATrim) {
  const std::string line = line_of(all[0]) + "\n";
  std::string lines;
  while (lines.size() <= std::size_t{1} << 20) lines += line;
  const auto count = static_cast<std::int64_t>(lines.size() / line.size());
  const PruneOptions options = {StoreLimits(), 1'700'000'000, /*dry_run=*/false, {}};
  test::write_file(file, line + line);
  EXPECT_FALSE(prune(root, options).takeError());
  EXPECT_EQ(test::read_file(file), line + line) << "who has the file open goes on with it";
  test::write_file(file, lines);
  EXPECT_FALSE(prune(root, options).takeError());
  EXPECT_EQ(test::read_file(file), fmt::format("{} {}\n", line_of(all[0]), count));
  EXPECT_TRUE(find(all[0]));
  EXPECT_EQ(hits(all[0]), count + 1);
}

TEST_F(Hits, EndWhereTheFileIsTooLong) {
  test::write_file(file, "");
  fs::resize_file(file, std::size_t{16} << 20);
  EXPECT_TRUE(find(all[0]));
  EXPECT_EQ(fs::file_size(file), std::size_t{16} << 20);
}

}  // namespace
}  // namespace mhcjit::cache
