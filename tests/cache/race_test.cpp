// Threads and processes publish, read and set aside one key at once: a reader gets a whole entry of one of the writers
// or nothing.
#include <atomic>
#include <thread>

#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

bool is_one_of(const Entry& entry, const std::vector<Sample>& writers) {
  for (const Sample& writer : writers) {
    if (writer.entry == entry) return true;
  }
  return false;
}

// Sizes differ, so that a mixture of two entries cannot look like either.
std::vector<Sample> writers_of_one_key(int count) {
  std::vector<Sample> writers;
  for (int writer = 0; writer < count; ++writer) {
    writers.push_back(sample(1, writer + 1));
    writers.back().entry.kernels[0].resources.name.assign(10 + writer * 50, static_cast<char>('a' + writer));
  }
  return writers;
}

TEST(Race, EightThreadsPublishAndFindOneKey) {
  const test::TemporaryFolder folder;
  const std::vector<Sample> writers = writers_of_one_key(8);
  Warnings warnings;
  DiskCache cache(folder / "root", warnings.options(/*flush=*/false));
  std::atomic<int> wrong{0}, failed{0}, lost{0};
  std::vector<std::thread> threads;
  for (const Sample& mine : writers) {
    threads.emplace_back([&] {
      for (int time = 0; time < 50; ++time) {
        failed += cache.publish(mine.key, mine.entry) ? 0 : 1;
        const std::optional<Entry> found = cache.find(mine.key, "sm_90a");
        lost += found ? 0 : 1;
        wrong += found && !is_one_of(*found, writers) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(lost, 0) << "an entry vanished while it was replaced";
  EXPECT_EQ(cache.counters().publishes, 400u);
  EXPECT_EQ(cache.counters().hits, 400u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
  EXPECT_EQ(names_ending(folder / "root", "").size(), 1u) << "something beside the entry";
}

TEST(Race, EightThreadsOneOfWhichSetsTheEntryAside) {
  const test::TemporaryFolder folder;
  const std::vector<Sample> writers = writers_of_one_key(7);
  Warnings warnings;
  DiskCache cache(folder.path(), warnings.options(/*flush=*/false));
  std::atomic<int> wrong{0}, failed{0};
  std::vector<std::thread> threads;
  for (const Sample& mine : writers) {
    threads.emplace_back([&] {
      for (int time = 0; time < 30; ++time) {
        failed += cache.publish(mine.key, mine.entry) ? 0 : 1;
        const std::optional<Entry> found = cache.find(mine.key, "sm_90a");
        wrong += found && !is_one_of(*found, writers) ? 1 : 0;
      }
    });
  }
  threads.emplace_back([&] {
    for (int time = 0; time < 100; ++time) failed += cache.invalidate(writers[0].key) ? 0 : 1;
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(failed, 0);
  EXPECT_TRUE(cache.publish(writers[0].key, writers[0].entry));
  EXPECT_EQ(cache.find(writers[0].key, "sm_90a"), writers[0].entry);
  EXPECT_EQ(names_ending(folder.path(), ".tmp"), std::vector<std::string>{});
}

TEST(Race, FourProcessesPublishAndFindOneKey) {
  const test::TemporaryFolder folder;
  const std::vector<Sample> writers = writers_of_one_key(4);
  const std::string root = folder / "not/there/yet";
  expect_children_succeed(4, [&](int process) {
    const Sample& mine = writers[process];
    Options options;
    options.flush = false;
    DiskCache cache(root, options);
    bool right = true;
    for (int time = 0; time < 50; ++time) {
      right = right && cache.publish(mine.key, mine.entry);
      const std::optional<Entry> found = cache.find(mine.key, "sm_90a");
      right = right && found && is_one_of(*found, writers);
    }
    return right ? 0 : 1;
  });
  EXPECT_EQ(names_ending(root, "").size(), 1u) << "something beside the entry";
}

}  // namespace
}  // namespace mhcjit::cache
