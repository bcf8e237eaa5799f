// Where no thread can be had, work is done by the threads that there are; none is lost, done twice or left behind, and
// what a body throws is thrown to the caller.
#include "support/threads.h"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <set>
#include <stdexcept>

#include <pthread.h>
#include <sched.h>

#include <gtest/gtest.h>

#include "tests/support/few_threads.h"

namespace mhcjit {
namespace {

class ThreadsTest : public testing::Test {
 protected:
  ~ThreadsTest() override { test::allow_threads(test::any_number); }

  // The calls of each index, and the threads that made them.
  struct Calls {
    std::vector<int> of_index;
    std::set<std::thread::id> threads;
  };

  // Every thread that is there meets the others: one that has taken an index waits, at most 10 s, until as many others
  // as `expected` have taken one too.
  static Calls run(std::int64_t count, unsigned threads, std::size_t expected) {
    Calls calls = {std::vector<int>(static_cast<std::size_t>(count)), {}};
    std::mutex mutex;
    std::condition_variable changed;
    parallel_for(count, threads, [&](std::int64_t i) {
      std::unique_lock lock(mutex);
      ++calls.of_index[static_cast<std::size_t>(i)];
      calls.threads.insert(std::this_thread::get_id());
      changed.notify_all();
      changed.wait_for(lock, std::chrono::seconds(10), [&] { return calls.threads.size() >= expected; });
    });
    return calls;
  }
};

TEST_F(ThreadsTest, EveryIndexIsCalledOnceByAsManyThreadsAsCanBeHad) {
  for (const int allowed : {0, 1, 3, 100, test::any_number}) {
    test::allow_threads(allowed);
    const std::size_t expected = allowed == test::any_number ? 8 : std::min(8, allowed + 1);
    const Calls calls = run(8, 8, expected);
    EXPECT_EQ(calls.of_index, std::vector<int>(8, 1)) << allowed;
    EXPECT_EQ(calls.threads.size(), expected) << allowed;
    EXPECT_EQ(test::refused_threads(), allowed == 0 || allowed == 1 || allowed == 3 ? 1 : 0)
        << "the first refusal is the last attempt";
  }
}

TEST_F(ThreadsTest, NoMoreThreadsThanWorkOrThanAskedFor) {
  EXPECT_TRUE(run(0, 8, 0).threads.empty());
  EXPECT_EQ(run(1, 8, 1).threads, std::set{std::this_thread::get_id()});
  EXPECT_EQ(run(100, 1, 1).threads, std::set{std::this_thread::get_id()});
  EXPECT_EQ(run(100, 3, 3).threads.size(), 3u);
  EXPECT_LE(run(1000, 0, 1).threads.size(), usable_cores());
}

TEST_F(ThreadsTest, UsableCoresAreThoseOfTheCallersAffinity) {
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(::sched_getcpu(), &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(usable_cores(), 1u);
    EXPECT_EQ(run(100, 0, 1).threads, std::set{std::this_thread::get_id()});
  }).join();
}

TEST_F(ThreadsTest, WhatABodyThrowsReachesTheCallerAndEndsTheRest) {
  for (const int allowed : {0, 3}) {
    test::allow_threads(allowed);
    std::atomic<int> calls = 0;
    EXPECT_THROW(parallel_for(1'000'000, 4,
                              [&](std::int64_t) {
                                ++calls;
                                throw std::runtime_error("no");
                              }),
                 std::runtime_error);
    EXPECT_LE(calls, allowed + 1);
  }
  // Thrown by a thread other than the caller's.
  const auto caller = std::this_thread::get_id();
  test::allow_threads(1);
  std::atomic<bool> thrown = false;
  EXPECT_THROW(parallel_for(2, 2,
                            [&](std::int64_t) {
                              if (std::this_thread::get_id() == caller) {
                                while (!thrown) std::this_thread::yield();
                              } else {
                                thrown = true;
                                throw std::bad_alloc();
                              }
                            }),
               std::bad_alloc);
}

TEST_F(ThreadsTest, TakeNoSignalOfTheProcessAndLeaveTheCallersMaskAsItWas) {
  sigset_t before, during, after;
  pthread_sigmask(SIG_BLOCK, nullptr, &before);
  Threads threads;
  ASSERT_TRUE(threads.start([&] { pthread_sigmask(SIG_BLOCK, nullptr, &during); }));
  threads.join();
  pthread_sigmask(SIG_BLOCK, nullptr, &after);
  for (const int signal : {SIGINT, SIGTERM, SIGALRM, SIGCHLD, SIGUSR1}) {
    EXPECT_EQ(sigismember(&during, signal), 1) << signal;
    EXPECT_EQ(sigismember(&after, signal), sigismember(&before, signal)) << signal;
  }
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) EXPECT_EQ(sigismember(&during, fault), 0) << fault;
}

}  // namespace
}  // namespace mhcjit
