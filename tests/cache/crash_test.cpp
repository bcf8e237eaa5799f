// A process is killed in the middle of a publish: the folder holds the old entry, the new one or none, and works on.
#include <csignal>

#include "tests/cache/child.h"
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

// Publishes in a child that SIGKILL ends just before system call number `nth`. False when it lived to the end.
bool killed_at(int nth, const std::string& root, const Sample& made) {
  return status_of_child([&] {
           int calls = 0;
           FaultyFileOps ops;
           // Several writes, so that one of the deaths leaves half an entry.
           ops.max_transfer = encode(made.entry).size() / 3;
           ops.before = [&](std::string_view) {
             if (++calls == nth) ::kill(::getpid(), SIGKILL);
             return 0;
           };
           return DiskCache(root, {}, ops).publish(made.key, made.entry) ? 0 : 1;
         }) == -1;
}

void expect_working_cache(const std::string& root, const Sample* old_entry, const Sample& made) {
  Warnings warnings;
  DiskCache cache(root, warnings.options());
  const std::optional<Entry> left = cache.find(made.key, "sm_90a");
  if (old_entry == nullptr) {
    EXPECT_TRUE(!left || *left == made.entry);
  } else {
    EXPECT_TRUE(left && (*left == made.entry || *left == old_entry->entry));
  }
  EXPECT_EQ(cache.counters().corrupt_entries, 0u) << "a half-written entry stood under the entry's name";
  EXPECT_LE(names_ending(root, ".tmp").size(), 1u);
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

void kill_at_every_call(const Sample* old_entry, const Sample& made) {
  int nth = 0;
  bool killed = true;
  while (killed) {
    SCOPED_TRACE(++nth);
    const test::TemporaryFolder folder;
    const std::string root = folder / "parent/root";
    if (old_entry != nullptr) {
      ASSERT_TRUE(DiskCache(root).publish(old_entry->key, old_entry->entry));
    }
    killed = killed_at(nth, root, made);
    expect_working_cache(root, old_entry, made);
    ASSERT_LT(nth, 100);
  }
  EXPECT_GT(nth, 10) << "the publish makes too few calls to be what it should be";
}

TEST(Crash, AtEachCallOfAPublishIntoNothing) { kill_at_every_call(nullptr, sample()); }

TEST(Crash, AtEachCallOfAPublishOverAnOldEntry) {
  const Sample old_entry = sample(1, 1);
  kill_at_every_call(&old_entry, sample(1, 2));
}

}  // namespace
}  // namespace mhcjit::cache
