// `ulimit -f` ends a program that writes beyond it, unless it expects the signal. A file that the cache cannot write is
// a failure like any other, and the host's handling of signals is as it was.
#include <csignal>

#include <sys/resource.h>

#include <fcntl.h>

#include "cache/bundle.h"
#include "cache/system_call.h"
#include "support/error.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

// Limits this process, a test's child, for good.
void limit_files(rlim_t bytes) {
  const rlimit limit = {bytes, bytes};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
}

bool has_default_action() {
  struct sigaction action = {};
  return ::sigaction(SIGXFSZ, nullptr, &action) == 0 && action.sa_handler == SIG_DFL;
}

bool is_blocked() {
  sigset_t mask;
  return ::pthread_sigmask(SIG_SETMASK, nullptr, &mask) == 0 && sigismember(&mask, SIGXFSZ) == 1;
}

bool is_pending() {
  sigset_t pending;
  return ::sigpending(&pending) == 0 && sigismember(&pending, SIGXFSZ) == 1;
}

TEST(FileLimit, AnEntryThatIsTooLongIsAPublishFailureAndTheOldOneStands) {
  const test::TemporaryFolder folder;
  const std::string root = folder / "root";
  const Sample old_entry = sample(1, 1), made = sample(1, 2), other = sample(2);
  ASSERT_TRUE(DiskCache(root).publish(old_entry.key, old_entry.entry));
  // Nothing can be written, or the beginning.
  for (const rlim_t bytes : {rlim_t{0}, rlim_t{1000}}) {
    EXPECT_EQ(status_of_child([&] {
                limit_files(bytes);
                Warnings warnings;
                DiskCache cache(root, warnings.options());
                EXPECT_FALSE(cache.publish(made.key, made.entry));
                EXPECT_FALSE(cache.publish(other.key, other.entry));
                EXPECT_EQ(cache.counters().publish_failures, 2u);
                EXPECT_EQ(warnings.lines().size(), 1u);
                EXPECT_NE(warnings.lines()[0].find("failed: File too large"), std::string::npos);
                EXPECT_TRUE(has_default_action());
                EXPECT_FALSE(is_blocked());
                EXPECT_FALSE(is_pending());
                return testing::Test::HasFailure() ? 1 : 0;
              }),
              0)
        << bytes;
    EXPECT_EQ(names_ending(root, "").size(), 1u) << "a temporary is left";
    EXPECT_EQ(DiskCache(root).find(made.key, "sm_90a"), old_entry.entry);
  }
}

TEST(FileLimit, ABundleThatIsTooLongIsAFailure) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "kernels.tar";
  EXPECT_EQ(status_of_child([&] {
              const Descriptor file(FileOps::system(), ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
              limit_files(100);
              llvm::Error error = write_bundle(file.get(), path, [](BundleWriter&) { return llvm::Error::success(); });
              const Failure failure = error ? take_failure(std::move(error)) : Failure();
              return failure.status == MHCJIT_ERROR_IO && failure.text.ends_with("File too large") ? 0 : 1;
            }),
            0);
}

// What the host has asked for goes on: its handler is not called for the cache's write, and is there afterwards.
TEST(FileLimit, TheHostsOwnHandlerIsNotCalledAndStays) {
  static int calls = 0;
  const test::TemporaryFolder folder;
  const Sample made = sample();
  EXPECT_EQ(status_of_child([&] {
              std::signal(SIGXFSZ, [](int) { ++calls; });
              limit_files(0);
              if (DiskCache(folder.path()).publish(made.key, made.entry) || calls != 0) return 1;
              ::raise(SIGXFSZ);
              return calls == 1 ? 0 : 2;
            }),
            0);
}

TEST(FileLimit, ASignalThatTheHostHoldsBackStaysPending) {
  const test::TemporaryFolder folder;
  const Sample made = sample();
  EXPECT_EQ(status_of_child([&] {
              sigset_t held;
              sigemptyset(&held);
              sigaddset(&held, SIGXFSZ);
              ::pthread_sigmask(SIG_BLOCK, &held, nullptr);
              limit_files(0);
              if (DiskCache(folder.path()).publish(made.key, made.entry) || is_pending()) return 1;
              ::raise(SIGXFSZ);
              if (DiskCache(folder.path()).publish(made.key, made.entry)) return 2;
              return is_pending() && is_blocked() ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace mhcjit::cache
