// A system call fails: full disk, exceeded quota, read-only or stale mount, bad device, missing right. For every call
// that find() and publish() make and every errno, the result is a miss or a false, never a wrong entry.
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

const int errors[] = {ENOSPC, EDQUOT, EROFS, EACCES, ESTALE, EBUSY, EIO, EINTR, EMFILE, ENOMEM};

// Fails call number `nth` (from 1), or that and all later ones, and remembers which calls were made.
struct Fault {
  Fault(int nth, int error, bool for_good) {
    ops.before = [=, this](std::string_view call) {
      calls.emplace_back(call);
      const int made = static_cast<int>(calls.size());
      return made == nth || (for_good && made > nth) ? error : 0;
    };
    this->nth = nth;
  }

  bool came() const { return static_cast<int>(calls.size()) >= nth; }
  std::string failed_call() const { return calls[nth - 1]; }

  FaultyFileOps ops;
  std::vector<std::string> calls;
  int nth;
};

std::string describe(const Fault& fault, int error) {
  return "call " + std::to_string(fault.nth) + ", " + fault.failed_call() + ", fails with errno " +
         std::to_string(error);
}

// Calls `run` with each call failing in turn until no such call is made, for each error.
template <typename Run>
void for_every_call_and_error(bool for_good, Run&& run) {
  for (const int error : errors) {
    // Calls are made again until no signal interrupts them, so this one would never end.
    if (for_good && error == EINTR) continue;
    int nth = 0;
    bool came = true;
    while (came) {
      Fault fault(++nth, error, for_good);
      came = run(fault, error);
      ASSERT_LT(nth, 100);
    }
    EXPECT_GT(nth, 4) << "the run makes too few calls to be what it should be";
  }
}

// Publishes with the fault, over `old_entry` when there is one, and looks at what is left. False when the fault did
// not come.
bool check_publish(Fault& fault, int error, const Sample* old_entry, const Sample& made) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "parent/root";
  if (old_entry != nullptr) {
    EXPECT_TRUE(DiskCache(root).publish(old_entry->key, old_entry->entry));
  }
  Warnings warnings;
  DiskCache cache(root, warnings.options(), fault.ops);
  const bool published = cache.publish(made.key, made.entry);
  if (!fault.came()) {
    EXPECT_TRUE(published);
    return false;
  }
  SCOPED_TRACE(describe(fault, error));

  const Counters counters = cache.counters();
  EXPECT_EQ(counters.publishes, published ? 1u : 0u);
  EXPECT_EQ(counters.publish_failures, published ? 0u : 1u);
  EXPECT_EQ(warnings.lines().size(), published ? 0u : 1u);
  // Closing the flushed folder writes nothing, so its failure means nothing. EINTR means to try again.
  const bool harmless = error == EINTR || (fault.failed_call() == "close" && fault.calls[fault.nth - 2] == "fsync" &&
                                           fault.calls[fault.nth - 3] == "open");
  EXPECT_EQ(published, harmless);
  EXPECT_EQ(names_ending(root, ".tmp"), std::vector<std::string>{});
  EXPECT_EQ(names_ending(root, ".bad"), std::vector<std::string>{});

  DiskCache healthy(root, warnings.options());
  const std::optional<Entry> left = healthy.find(made.key, "sm_90a");
  if (published) {
    EXPECT_EQ(left, made.entry);
  } else {
    EXPECT_TRUE(!left || (old_entry != nullptr && *left == old_entry->entry));
    EXPECT_TRUE(left || old_entry == nullptr) << "a failed publish lost the old entry";
  }
  EXPECT_TRUE(healthy.publish(made.key, made.entry));
  EXPECT_EQ(healthy.find(made.key, "sm_90a"), made.entry);
  return true;
}

TEST(Faults, PublishIntoNothingWithEachCallFailingOnce) {
  const Sample made = sample();
  for_every_call_and_error(false, [&](Fault& fault, int error) { return check_publish(fault, error, nullptr, made); });
}

TEST(Faults, PublishOverAnOldEntryWithEachCallFailingOnce) {
  const Sample old_entry = sample(1, 1), made = sample(1, 2);
  for_every_call_and_error(false,
                           [&](Fault& fault, int error) { return check_publish(fault, error, &old_entry, made); });
}

// The disk fails for good in the middle: even the clean-up may fail, the result may not be wrong.
TEST(Faults, PublishWithEveryCallFailingFromEachOn) {
  const Sample old_entry = sample(1, 1), made = sample(1, 2);
  for_every_call_and_error(true, [&](Fault& fault, int error) {
    const test::TemporaryFolder folder;
    EXPECT_TRUE(DiskCache(folder.path()).publish(old_entry.key, old_entry.entry));
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options(), fault.ops);
    const bool published = cache.publish(made.key, made.entry);
    if (!fault.came()) return false;
    SCOPED_TRACE(describe(fault, error));
    EXPECT_EQ(warnings.lines().size(), published ? 0u : 1u);
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    const std::optional<Entry> left = DiskCache(folder.path()).find(made.key, "sm_90a");
    EXPECT_TRUE(left && (*left == made.entry || *left == old_entry.entry));
    return true;
  });
}

TEST(Faults, FindWithEachCallFailingOnce) {
  const Sample made = sample();
  for_every_call_and_error(false, [&](Fault& fault, int error) {
    const test::TemporaryFolder folder;
    EXPECT_TRUE(DiskCache(folder.path()).publish(made.key, made.entry));
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options(), fault.ops);
    const std::optional<Entry> found = cache.find(made.key, "sm_90a");
    if (!fault.came()) return false;
    SCOPED_TRACE(describe(fault, error));
    // The close comes after the last byte.
    const auto close = std::find(fault.calls.begin(), fault.calls.end(), "close");
    if (error == EINTR || fault.nth > close - fault.calls.begin()) {
      EXPECT_EQ(found, made.entry);
      EXPECT_EQ(warnings.lines().size(), 0u);
    } else {
      EXPECT_FALSE(found);
      EXPECT_EQ(cache.counters().misses, 1u);
      EXPECT_EQ(cache.counters().read_failures, fault.failed_call() == "stat" ? 0u : 1u);
      EXPECT_EQ(cache.counters().corrupt_entries, 0u);
      EXPECT_EQ(warnings.lines().size(), 1u);
    }
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry) << "a passing fault lost a sound entry";
    return true;
  });
}

TEST(Faults, FindOfADamagedEntryWithEachCallFailingOnce) {
  const Sample made = sample();
  for_every_call_and_error(false, [&](Fault& fault, int error) {
    const test::TemporaryFolder folder;
    test::write_file(folder / entry_name(made.key), encode(made.entry) + "damage");
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options(), fault.ops);
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    if (!fault.came()) return false;
    SCOPED_TRACE(describe(fault, error));
    EXPECT_EQ(warnings.lines().size(), 1u);
    if (fault.failed_call() == "random" || fault.failed_call() == "rename") {
      EXPECT_EQ(folder.file_count(), error == EINTR ? 1 : 0) << "what cannot be set aside is deleted";
    }
    EXPECT_TRUE(cache.publish(made.key, made.entry));
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
    return true;
  });
}

// A folder in the entry's place makes publish() move it away first: those calls fail too.
TEST(Faults, PublishOverAFolderWithEachCallFailingOnce) {
  const Sample made = sample();
  for_every_call_and_error(false, [&](Fault& fault, int error) {
    const test::TemporaryFolder folder;
    std::filesystem::create_directories(folder / (entry_name(made.key) + "/inside"));
    Warnings warnings;
    DiskCache cache(folder.path(), warnings.options(), fault.ops);
    const bool published = cache.publish(made.key, made.entry);
    if (!fault.came()) return false;
    SCOPED_TRACE(describe(fault, error));
    EXPECT_EQ(warnings.lines().size(), published ? 0u : 1u);
    EXPECT_EQ(names_ending(folder.path(), ".tmp"), std::vector<std::string>{});
    EXPECT_TRUE(DiskCache(folder.path()).publish(made.key, made.entry));
    EXPECT_EQ(DiskCache(folder.path()).find(made.key, "sm_90a"), made.entry);
    return true;
  });
}

TEST(Faults, TransfersOfAFewBytesAtATimeAreCompleted) {
  const test::TemporaryFolder folder;
  const Sample made = sample();
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
    FaultyFileOps ops;
    ops.max_transfer = bytes;
    DiskCache cache(folder.path(), {}, ops);
    EXPECT_TRUE(cache.publish(made.key, made.entry)) << bytes;
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry) << bytes;
  }
}

TEST(Faults, AWriteOfNothingIsAFailureNotALoop) {
  const test::TemporaryFolder folder;
  const Sample made = sample();
  FaultyFileOps ops;
  ops.max_transfer = 0;
  DiskCache cache(folder.path(), {}, ops);
  EXPECT_FALSE(cache.publish(made.key, made.entry));
  EXPECT_EQ(folder.file_count(), 0);
}

TEST(Faults, OneWarningHoweverManyFailures) {
  const test::TemporaryFolder folder;
  Warnings warnings;
  FaultyFileOps ops;
  ops.before = [](std::string_view call) { return call == "write" ? ENOSPC : 0; };
  DiskCache cache(folder.path(), warnings.options(), ops);
  for (unsigned seed = 1; seed <= 10; ++seed) EXPECT_FALSE(cache.publish(sample(seed).key, sample(seed).entry));
  EXPECT_EQ(cache.counters().publish_failures, 10u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("failed: No space left on device"), std::string::npos) << warnings.lines()[0];
  EXPECT_EQ(folder.file_count(), 0);
}

}  // namespace
}  // namespace mhcjit::cache
