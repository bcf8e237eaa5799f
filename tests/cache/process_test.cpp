// Sixteen ranks start on one node with a cold cache: one of them compiles and the others take what it made. Whoever
// holds the lock may be killed or stopped, and the file system may have no locks: the others compile in the end.
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <new>
#include <thread>

#include <pthread.h>
#include <sys/mman.h>

#include "cache/process_lock.h"
#include "cache/tiered_cache.h"
#include "support/error.h"
#include "tests/cache/child.h"
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr int processes = 16;
constexpr int rounds = 50;

// Memory of this process and of its children.
template <typename T>
class Shared {
 public:
  Shared() {
    void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    value_ = new (memory) T();
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { ::munmap(value_, sizeof(T)); }

  T& operator*() const { return *value_; }
  T* operator->() const { return value_; }

 private:
  T* value_;
};

struct Fleet {
  Fleet() {
    pthread_barrierattr_t attributes;
    ::pthread_barrierattr_init(&attributes);
    ::pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    ::pthread_barrier_init(&barrier, &attributes, processes);
  }
  pthread_barrier_t barrier;
  std::array<std::atomic<int>, rounds> compiles = {};
  std::atomic<int> timeouts = 0;
};

TierOptions options_of(Warnings& warnings, milliseconds timeout = milliseconds(120'000)) {
  TierOptions options;
  options.folders = warnings.options(/*flush=*/false);
  options.lock_timeout = timeout;
  options.on_network = [](const std::string&) { return false; };
  return options;
}

// What an engine does: looks, and makes what is not there. Nothing when a step fails.
template <typename Compile>
std::optional<Entry> look_or_make(TieredCache& cache, const Sample& wanted, Compile&& compile) {
  if (std::optional<TieredCache::Found> found = cache.find(wanted.key, "sm_90a")) return std::move(found->entry);
  llvm::Expected<TieredCache::Made> made = cache.make_once(wanted.key, "sm_90a", [&]() -> llvm::Expected<Entry> {
    compile();
    if (!cache.publish(wanted.key, wanted.entry)) return make_error(MHCJIT_ERROR_IO, "not published");
    return wanted.entry;
  });
  if (made) return std::move(made->entry);
  llvm::consumeError(made.takeError());
  return std::nullopt;
}

// All rounds of one process: 0 when each gave the entry of its key.
int take_part(Fleet& fleet, const std::string& root, const std::vector<Sample>& samples) {
  Warnings warnings;
  TieredCache cache(root, options_of(warnings));
  bool right = true;
  for (int round = 0; round < rounds; ++round) {
    ::pthread_barrier_wait(&fleet.barrier);
    const std::optional<Entry> entry = look_or_make(cache, samples[round], [&] {
      ++fleet.compiles[round];
      std::this_thread::sleep_for(milliseconds(3));
    });
    right = right && entry == samples[round].entry;
  }
  fleet.timeouts += static_cast<int>(cache.counters().lock_timeouts);
  return right && warnings.lines().empty() ? 0 : 1;
}

TEST(Processes, SixteenWithOneColdKeyCompileOnceInEachOfFiftyRounds) {
  const test::TemporaryFolder folder;
  std::vector<Sample> samples;
  for (int round = 0; round < rounds; ++round) samples.push_back(sample(1 + round));
  const Shared<Fleet> fleet;
  expect_children_succeed(processes, [&](int) { return take_part(*fleet, folder / "root", samples); });
  for (int round = 0; round < rounds; ++round) EXPECT_EQ(fleet->compiles[round], 1) << "round " << round;
  EXPECT_EQ(fleet->timeouts, 0);
}

// A child that has begun to compile the sample and never ends.
class Holder {
 public:
  Holder(const std::string& root, const Sample& wanted) {
    child_ = start_child([&] {
      Warnings warnings;
      TieredCache cache(root, options_of(warnings));
      look_or_make(cache, wanted, [&] {
        *compiles_ = true;
        for (;;) ::pause();
      });
      return 1;
    });
    while (!*compiles_ && ::waitpid(child_, nullptr, WNOHANG) == 0) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_TRUE(*compiles_) << "the child ended";
  }
  ~Holder() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }

  void send(int signal) const { ::kill(child_, signal); }

 private:
  Shared<std::atomic<bool>> compiles_;
  pid_t child_ = 0;
};

TEST(Processes, AKilledHolderIsSucceededAtOnce) {
  const test::TemporaryFolder folder;
  const Sample wanted = sample();
  const Holder holder(folder.path(), wanted);
  Warnings warnings;
  TieredCache cache(folder.path(), options_of(warnings));
  std::thread killer([&] {
    std::this_thread::sleep_for(milliseconds(100));
    holder.send(SIGKILL);
  });
  const auto start = steady_clock::now();
  int compiles = 0;
  EXPECT_EQ(look_or_make(cache, wanted, [&] { ++compiles; }), wanted.entry);
  killer.join();
  EXPECT_EQ(compiles, 1);
  EXPECT_GE(steady_clock::now() - start, milliseconds(90)) << "it did not wait for the holder";
  EXPECT_LT(steady_clock::now() - start, milliseconds(60'000)) << "it waited for the time-out";
  EXPECT_EQ(cache.counters().lock_timeouts, 0u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST(Processes, AStoppedHolderIsWaitedForUntilTheTimeOut) {
  const test::TemporaryFolder folder;
  const Sample wanted = sample();
  const Holder holder(folder.path(), wanted);
  holder.send(SIGSTOP);
  Warnings warnings;
  TieredCache cache(folder.path(), options_of(warnings, milliseconds(200)));
  const auto start = steady_clock::now();
  int compiles = 0;
  EXPECT_EQ(look_or_make(cache, wanted, [&] { ++compiles; }), wanted.entry);
  EXPECT_GE(steady_clock::now() - start, milliseconds(200));
  EXPECT_EQ(compiles, 1);
  EXPECT_EQ(cache.counters().lock_timeouts, 1u);
  const std::vector<std::string> expected = {
      "a kernel is compiled that another process may be compiling too: another process has held '" +
      (folder / "compile.lock") + "' for 200 ms"};
  EXPECT_EQ(warnings.lines(), expected);
  EXPECT_TRUE(DiskCache(folder.path()).find(wanted.key, "sm_90a")) << "what it compiled is kept";
}

TEST(Processes, DistinctKeysDoNotWaitForEachOther) {
  const test::TemporaryFolder folder;
  const Holder holder(folder.path(), sample(1));
  Warnings warnings;
  TieredCache cache(folder.path(), options_of(warnings));
  for (unsigned seed = 2; seed < 100; ++seed)
    EXPECT_EQ(look_or_make(cache, sample(seed), [] {}), sample(seed).entry) << seed;
  EXPECT_EQ(cache.counters().lock_timeouts, 0u);
}

struct Rush {
  std::atomic<int> compiles = 0;
  std::atomic<int> waiting = 0;   // processes that found the lock taken
  std::atomic<int> together = 0;  // in a compile at the same time
  std::atomic<bool> failed = false;

  // Whether the number does so before a minute is over. Where one did not, none waits any more.
  bool reaches(const std::atomic<int>& number, int least) {
    for (const auto start = steady_clock::now(); number < least && !failed;) {
      if (steady_clock::now() - start > milliseconds(60'000)) failed = true;
      std::this_thread::sleep_for(milliseconds(1));
    }
    return !failed;
  }
};

// One of the processes, in a folder where each call of this name fails. Where one can hold the lock, its compile lasts
// until the others wait; theirs last until all of them compile. 0 when that came true, and the entry was right.
int rush_in(Rush& rush, const std::string& root, std::string_view failing_call, int error, bool one_goes_first) {
  FaultyFileOps ops;
  int lock_calls = 0;
  ops.before = [&](std::string_view call) {
    if (call == "lock" && ++lock_calls == 2) ++rush.waiting;
    return call == failing_call ? error : 0;
  };
  Warnings warnings;
  TieredCache cache(root, options_of(warnings), ops);
  const Sample wanted = sample();
  bool met = false;
  llvm::Expected<TieredCache::Made> made = cache.make_once(wanted.key, "sm_90a", [&]() -> llvm::Expected<Entry> {
    if (rush.compiles++ == 0 && one_goes_first) {
      met = rush.reaches(rush.waiting, processes - 1);
    } else {
      ++rush.together;
      met = rush.reaches(rush.together, processes - (one_goes_first ? 1 : 0));
    }
    met = met && !cache.publish(wanted.key, wanted.entry);
    return wanted.entry;
  });
  if (made) return met && made->entry == wanted.entry && cache.counters().lock_timeouts == 0 ? 0 : 1;
  llvm::consumeError(made.takeError());
  return 1;
}

TEST(Processes, WhereNothingCanBePublishedTheyCompileAtTheSameTime) {
  struct Fault {
    const char* failing_call;
    int error;
    bool one_goes_first;
  };
  for (const Fault& fault : {Fault{"write", ENOSPC, true}, Fault{"open", EROFS, false}}) {
    const test::TemporaryFolder folder;
    const Shared<Rush> rush;
    SCOPED_TRACE(fault.failing_call);
    expect_children_succeed(processes, [&](int) {
      return rush_in(*rush, folder.path(), fault.failing_call, fault.error, fault.one_goes_first);
    });
    EXPECT_EQ(rush->compiles, processes);
  }
}

TEST(Processes, WithoutLocksEveryoneCompilesAndOneWarningSaysSo) {
  for (const int error : {ENOLCK, EOPNOTSUPP, EINVAL}) {
    const test::TemporaryFolder folder;
    FaultyFileOps ops;
    ops.before = [&](std::string_view call) { return call == "lock" ? error : 0; };
    Warnings warnings;
    TieredCache cache(folder.path(), options_of(warnings), ops);
    int compiles = 0;
    for (unsigned seed = 1; seed <= 3; ++seed)
      EXPECT_EQ(look_or_make(cache, sample(seed), [&] { ++compiles; }), sample(seed).entry);
    EXPECT_EQ(compiles, 3);
    EXPECT_EQ(cache.counters().lock_timeouts, 3u);
    const std::vector<std::string> expected = {"a kernel is compiled that another process may be compiling too: '" +
                                               (folder / "compile.lock") + "' cannot be locked"};
    EXPECT_EQ(warnings.lines(), expected);
  }
}

TEST(Processes, TwoCachesOfOneProcessExcludeEachOther) {
  const test::TemporaryFolder folder;
  FileOps& ops = FileOps::system();
  const std::string path = folder / "lock", digest = sample().key.digest();
  {
    const ProcessLock first(ops, path, digest, milliseconds(0));
    EXPECT_EQ(first.state(), ProcessLock::State::held);
    EXPECT_EQ(ProcessLock(ops, path, digest, milliseconds(20)).state(), ProcessLock::State::timed_out);
  }
  EXPECT_EQ(ProcessLock(ops, path, digest, milliseconds(0)).state(), ProcessLock::State::held);
  EXPECT_EQ(ProcessLock(ops, folder / "none/lock", digest, milliseconds(0)).state(), ProcessLock::State::no_file);
}

// A child that was forked while the lock was held has the open file too, for as long as it lives.
TEST(Processes, AForkedChildDoesNotKeepTheLock) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "lock", digest = sample().key.digest();
  auto lock = std::make_unique<ProcessLock>(FileOps::system(), path, digest, milliseconds(0));
  const pid_t child = start_child([] { return ::pause(); });
  lock.reset();
  EXPECT_EQ(ProcessLock(FileOps::system(), path, digest, milliseconds(0)).state(), ProcessLock::State::held);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST(Processes, OnANetworkFileSystemTheLockIsInTheRuntimeFolder) {
  const test::TemporaryFolder folder;
  Warnings warnings;
  TierOptions options = options_of(warnings);
  options.on_network = [](const std::string&) { return true; };
  TieredCache without(folder / "root", options);
  EXPECT_EQ(look_or_make(without, sample(1), [] {}), sample(1).entry);
  EXPECT_EQ(names_ending(folder / "root", ".lock").size(), 0u);

  options.runtime_folder = folder / "runtime";
  TieredCache with(folder / "root", options);
  EXPECT_EQ(look_or_make(with, sample(2), [] {}), sample(2).entry);
  EXPECT_EQ(names_ending(folder / "root", ".lock").size(), 0u);
  EXPECT_EQ(names_ending(folder / "runtime", ".lock").size(), 1u);
  EXPECT_EQ(std::filesystem::status(folder / "runtime").permissions(), std::filesystem::perms::owner_all);

  options.runtime_folder = folder / "no/runtime";
  TieredCache absent(folder / "root", options);
  EXPECT_EQ(look_or_make(absent, sample(3), [] {}), sample(3).entry);
  EXPECT_FALSE(std::filesystem::exists(folder / "no"));
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST(Processes, AFailedCompileIsReportedAndFreesTheLock) {
  const test::TemporaryFolder folder;
  Warnings warnings;
  TieredCache cache(folder.path(), options_of(warnings));
  const Sample wanted = sample();
  auto made = cache.make_once(wanted.key, "sm_90a", [&]() -> llvm::Expected<Entry> {
    return make_error(MHCJIT_ERROR_COMPILATION_FAILED, "refused");
  });
  ASSERT_FALSE(static_cast<bool>(made));
  EXPECT_EQ(take_failure(made.takeError()).text, "refused");
  EXPECT_EQ(look_or_make(cache, wanted, [] {}), wanted.entry);
  EXPECT_EQ(cache.counters().lock_timeouts, 0u);
}

}  // namespace
}  // namespace mhcjit::cache
