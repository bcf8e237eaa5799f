// Many threads ask for one kernel at once: it is compiled once, a failure reaches everybody who waited and nobody who
// comes later, and no other kernel waits for it.
#include "cache/single_flight.h"

#include <atomic>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace mhcjit::cache {
namespace {

using Value = std::shared_ptr<const int>;

// A key that counts the threads that have compared it. With nothing ready, a thread compares only when it joins a
// flight, under the lock that the flight must take to land: after all have compared, all have joined.
// The counter outlives the map.
struct CountedKey {
  int id = 0;
  std::atomic<int>* threads = nullptr;

  bool operator<(const CountedKey& other) const {
    thread_local std::atomic<int>* counted_in = nullptr;
    if (std::exchange(counted_in, threads) != threads) ++*threads;
    return id < other.id;
  }
  bool operator==(const CountedKey& other) const { return id == other.id; }
  friend llvm::hash_code hash_value(const CountedKey& key) { return llvm::hash_value(key.id); }
};

// Asks with `create` from 16 threads, of which one leads and 15 wait for it.
template <typename Create>
void ask_from_16_threads(SingleFlight<CountedKey, Value>& flight, std::atomic<int>& joined, Create&& create,
                         std::vector<llvm::Expected<Value>>& answers) {
  std::vector<std::optional<llvm::Expected<Value>>> slots(16);
  std::vector<std::thread> threads;
  for (auto& slot : slots) {
    threads.emplace_back([&] {
      slot.emplace(flight.get_or_create({1, &joined}, [&] {
        while (joined < 15) std::this_thread::yield();
        return create();
      }));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& slot : slots) answers.push_back(std::move(*slot));
}

TEST(SingleFlight, SixteenThreadsOneCreate) {
  std::atomic<int> joined{0}, creates{0};
  SingleFlight<CountedKey, Value> flight;
  std::vector<llvm::Expected<Value>> answers;
  ask_from_16_threads(
      flight, joined, [&]() -> llvm::Expected<Value> { return std::make_shared<const int>(++creates); }, answers);
  EXPECT_EQ(creates, 1);
  for (llvm::Expected<Value>& answer : answers) {
    ASSERT_TRUE(static_cast<bool>(answer));
    EXPECT_EQ(*answer, *answers[0]) << "not the same object";
  }
  ASSERT_NE(flight.find({1, &joined}), nullptr);
  EXPECT_EQ(*flight.find({1, &joined}), *answers[0]);
  EXPECT_EQ(flight.find({2, &joined}), nullptr);
}

TEST(SingleFlight, AFailureReachesAllWaitersAndIsNotKept) {
  std::atomic<int> joined{0}, creates{0};
  SingleFlight<CountedKey, Value> flight;
  std::vector<llvm::Expected<Value>> answers;
  ask_from_16_threads(
      flight, joined,
      [&]() -> llvm::Expected<Value> {
        return make_error(MHCJIT_ERROR_COMPILATION_FAILED, "attempt {} failed", ++creates);
      },
      answers);
  EXPECT_EQ(creates, 1);
  for (llvm::Expected<Value>& answer : answers) {
    ASSERT_FALSE(static_cast<bool>(answer));
    const Failure failure = take_failure(answer.takeError());
    EXPECT_EQ(failure.status, MHCJIT_ERROR_COMPILATION_FAILED);
    EXPECT_EQ(failure.text, "attempt 1 failed");
  }
  EXPECT_EQ(flight.find({1, &joined}), nullptr);
  llvm::Expected<Value> later = flight.get_or_create(
      {1, &joined}, [&]() -> llvm::Expected<Value> { return std::make_shared<const int>(++creates); });
  ASSERT_TRUE(static_cast<bool>(later));
  EXPECT_EQ(**later, 2);
}

// Would hang if the create of one key held a lock that another key needs.
TEST(SingleFlight, DistinctKeysDoNotWaitForEachOther) {
  SingleFlight<int, int> flight;
  llvm::Expected<int> outer = flight.get_or_create(1, [&]() -> llvm::Expected<int> {
    int inner = 0;
    std::thread([&] {
      inner = llvm::cantFail(flight.get_or_create(2, []() -> llvm::Expected<int> { return 20; }));
      EXPECT_EQ(flight.find(1), nullptr) << "a look-up of what is being made does not wait either";
    }).join();
    return inner + 1;
  });
  ASSERT_TRUE(static_cast<bool>(outer));
  EXPECT_EQ(*outer, 21);
  ASSERT_NE(flight.find(2), nullptr);
  EXPECT_EQ(*flight.find(2), 20);
}

TEST(SingleFlight, AReadyValueIsNotMadeAgain) {
  SingleFlight<int, int> flight;
  int creates = 0;
  const auto create = [&]() -> llvm::Expected<int> { return ++creates; };
  for (int time = 0; time < 3; ++time) EXPECT_EQ(llvm::cantFail(flight.get_or_create(7, create)), 1);
  EXPECT_EQ(llvm::cantFail(flight.get_or_create(8, create)), 2);
}

TEST(SingleFlight, AnExceptionOfCreateLeavesNobodyWaiting) {
  std::atomic<int> joined{0}, thrown{0};
  SingleFlight<CountedKey, Value> flight;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      try {
        llvm::consumeError(flight
                               .get_or_create({1, &joined},
                                              [&]() -> llvm::Expected<Value> {
                                                while (joined < 3) std::this_thread::yield();
                                                throw std::bad_alloc();
                                              })
                               .takeError());
      } catch (const std::bad_alloc&) {
        ++thrown;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(thrown, 4);
  llvm::Expected<Value> later =
      flight.get_or_create({1, &joined}, []() -> llvm::Expected<Value> { return std::make_shared<const int>(5); });
  ASSERT_TRUE(static_cast<bool>(later));
  EXPECT_EQ(**later, 5);
}

}  // namespace
}  // namespace mhcjit::cache
