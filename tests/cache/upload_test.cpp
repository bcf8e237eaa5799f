// What is compiled is uploaded by a thread of its own: a launch never waits for the server, the end of an engine waits
// for a bounded time, and whatever the server does to an upload costs one warning.
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <mutex>

#include "cache/entry_file.h"
#include "cache/remote_store.h"
#include "cache/tiered_cache.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"
#include "tests/cache/test_server.h"
#include "tests/support/few_threads.h"

namespace mhcjit::cache {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

class Upload : public ::testing::Test {
 protected:
  RemoteOptions options(const std::string& url) {
    RemoteOptions options;
    options.server.url = url;
    options.log = warnings.options().log;
    return options;
  }

  static TestServer::Answer answers(const std::string& bytes) {
    return [bytes](const TestServer::Request&, const TestServer::Connection& client) { client.send(bytes); };
  }
  static void hang(const TestServer::Request&, const TestServer::Connection& client) { client.hang(); }

  const Sample made = sample();
  Warnings warnings;
};

TEST_F(Upload, IsTheFileOfTheEntry) {
  const std::string key = "0123456789abcdef0123456789abcdef";
  for (const int status : {200, 201, 204}) {
    TestServer server(answers(response(status, "")));
    RemoteOptions with_key = options(server.url());
    with_key.hmac_key = key;
    RemoteStore store(with_key);
    store.publish(made.key, made.entry);
    EXPECT_TRUE(eventually([&] { return store.counters().uploads == 1; })) << status;
    ASSERT_EQ(server.requests().size(), 1u);
    EXPECT_EQ(server.requests()[0].method, "PUT");
    EXPECT_EQ(server.requests()[0].path, "/cache/" + made.key.digest());
    EXPECT_EQ(server.requests()[0].body, file_with(key, made));
  }
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Upload, IsDoneBeforeTheStoreEnds) {
  TestServer server(answers(response(201, "")));
  {
    RemoteStore store(options(server.url()));
    for (unsigned seed = 1; seed <= 5; ++seed) store.publish(sample(seed).key, sample(seed).entry);
  }
  EXPECT_EQ(server.requests().size(), 5u);
}

TEST_F(Upload, AndARefusedAnswerAreTraced) {
  std::mutex mutex;
  std::vector<std::string> traces;
  TestServer server(answers(response(200, "nonsense")));
  RemoteOptions tracing = options(server.url());
  tracing.log = Log(
      [&](mhcjit_log_level level, std::string_view line) {
        const std::lock_guard lock(mutex);
        if (level == MHCJIT_LOG_TRACE) traces.emplace_back(line);
      },
      MHCJIT_LOG_TRACE);
  RemoteStore store(tracing);
  store.publish(made.key, made.entry);
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return traces.size() == 1;
  }));
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  ASSERT_EQ(traces.size(), 2u);
  const std::string fields = fmt::format("problem=\"-\" digest={} tier=remote ms=", made.key.digest());
  EXPECT_EQ(traces[0].find("event=upload " + fields), 0u) << traces[0];
  EXPECT_EQ(traces[1], "event=corrupt " + fields + "-");
}

TEST_F(Upload, NeverHoldsUpItsCallerAndTheEndForABoundedTime) {
  TestServer server(hang);
  const Clock::time_point start = Clock::now();
  Clock::time_point end;
  {
    RemoteStore store(options(server.url()));
    for (unsigned seed = 1; seed <= 5; ++seed) store.publish(sample(seed).key, sample(seed).entry);
    EXPECT_LT(since(start), milliseconds(1000)) << "the server takes 2 s to fail";
    end = Clock::now();
  }
  EXPECT_LT(since(end), milliseconds(8000)) << "2 s, the rest is for a busy machine";
  EXPECT_LE(warnings.lines().size(), 1u) << "one, unless the end came before the time-out";
  EXPECT_LE(server.requests().size(), 2u) << "one, and one that begins in the last milliseconds";
}

TEST_F(Upload, OfTooMuchAtOnceIsDropped) {
  std::atomic<bool> go = false;
  TestServer server([&](const TestServer::Request&, const TestServer::Connection& client) {
    eventually([&] { return go.load(); });
    client.send(response(201, ""));
  });
  RemoteOptions small = options(server.url());
  small.server.total_timeout = milliseconds(20000);
  small.uploads.max_jobs = 3;
  RemoteStore store(small);
  store.publish(made.key, made.entry);
  ASSERT_TRUE(eventually([&] { return server.requests().size() == 1; })) << "the first is on its way";
  for (unsigned seed = 2; seed <= 11; ++seed) store.publish(sample(seed).key, sample(seed).entry);
  EXPECT_EQ(store.counters().upload_drops, 7u) << "3 of 10 wait";
  go = true;
  EXPECT_TRUE(eventually([&] { return store.counters().uploads == 4; }));

  RemoteOptions tiny = options(server.url());
  tiny.uploads.max_bytes = encode(made.entry).size() - 1;
  RemoteStore bytes(tiny);
  bytes.publish(made.key, made.entry);
  EXPECT_EQ(bytes.counters().upload_drops, 1u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Upload, ThatTheEndCutsShortIsDroppedWithoutAWarning) {
  TestServer server([](const TestServer::Request&, const TestServer::Connection& client) {
    std::this_thread::sleep_for(milliseconds(100));
    client.send(response(201, ""));
  });
  RemoteOptions hurried = options(server.url());
  hurried.uploads.drain_time = milliseconds(250);
  const Clock::time_point start = Clock::now();
  {
    RemoteStore store(hurried);
    for (unsigned seed = 1; seed <= 60; ++seed) store.publish(sample(seed).key, sample(seed).entry);
  }
  EXPECT_LT(since(start), milliseconds(4000)) << "all of them would take 6 s";
  EXPECT_GE(server.requests().size(), 1u);
  EXPECT_LT(server.requests().size(), 40u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Upload, ThatIsNotAllowedLeavesTheServerReadable) {
  for (const int status : {401, 403, 405, 409, 413}) {
    Warnings own;
    TestServer server([&](const TestServer::Request& request, const TestServer::Connection& client) {
      client.send(request.method == "PUT" ? response(status, "") : response(200, encode(made.entry)));
    });
    RemoteOptions with_log = options(server.url());
    with_log.log = own.options().log;
    RemoteStore store(with_log);
    store.publish(made.key, made.entry);
    ASSERT_TRUE(eventually([&] { return store.counters().failures == 1; }));
    store.publish(made.key, made.entry);
    EXPECT_EQ(store.find(made.key, "sm_90a"), made.entry);
    EXPECT_EQ(server.requests().size(), 2u) << "one PUT, one GET";
    ASSERT_EQ(own.lines().size(), 1u);
    EXPECT_EQ(own.lines()[0],
              fmt::format("remote cache '{}' takes no uploads, this process makes no more: PUT is answered with status "
                          "{}, it should be 200, 201 or 204; allow PUT there, or set MHCJIT_CACHE_REMOTE_READ_ONLY=1",
                          server.url(), status));
  }
}

TEST_F(Upload, ThatFailsSwitchesTheServerOff) {
  const TestServer::Answer closes = [](const TestServer::Request&, const TestServer::Connection&) {};
  for (const TestServer::Answer& answer : {answers(response(500, "")), answers(response(301, "")), closes}) {
    Warnings own;
    TestServer server(answer);
    RemoteOptions with_log = options(server.url());
    with_log.log = own.options().log;
    RemoteStore store(with_log);
    store.publish(made.key, made.entry);
    ASSERT_TRUE(eventually([&] { return own.lines().size() == 1; }));
    EXPECT_EQ(
        own.lines()[0].find(fmt::format("remote cache '{}' is not used any more by this process: PUT ", server.url())),
        0u)
        << own.lines()[0];
    EXPECT_FALSE(store.find(made.key, "sm_90a"));
    EXPECT_EQ(server.requests().size(), 1u);
    EXPECT_EQ(store.counters().failures, 1u);
  }
}

TEST_F(Upload, IsNotMadeToAServerThatIsOnlyRead) {
  TestServer server(answers(response(404, "")));
  {
    RemoteOptions read_only = options(server.url());
    read_only.read_only = true;
    RemoteStore store(read_only);
    store.publish(made.key, made.entry);
    EXPECT_FALSE(store.find(made.key, "sm_90a"));
  }
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].method, "GET");
}

// A child after a fork has the store and not its thread: it must neither wait for that thread nor break its locks.
TEST_F(Upload, InAForkedChildIsRefused) {
  std::atomic<bool> go = false;
  TestServer server([&](const TestServer::Request& request, const TestServer::Connection& client) {
    if (request.method == "PUT") eventually([&] { return go.load(); });
    client.send(response(201, ""));
  });
  auto store = std::make_unique<RemoteStore>(options(server.url()));
  store->publish(made.key, made.entry);
  ASSERT_TRUE(eventually([&] { return server.requests().size() == 1; }));
  const int status = status_of_child([&] {
    ::alarm(20);
    store->publish(made.key, made.entry);
    const bool dropped = store->counters().upload_drops == 1;
    store.reset();
    return dropped ? 0 : 1;
  });
  EXPECT_EQ(status, 0) << "-1: it did not end by itself";
  go = true;
  EXPECT_TRUE(eventually([&] { return store->counters().uploads == 1; })) << "the parent's goes on";
}

TEST_F(Upload, IsDroppedWhereNoThreadCanBeHad) {
  TestServer server(answers(response(201, "")));
  RemoteStore store(options(server.url()));
  test::allow_threads(0);
  store.publish(made.key, made.entry);
  EXPECT_EQ(store.counters().upload_drops, 1u);
  test::allow_threads(test::any_number);
  store.publish(made.key, made.entry);
  EXPECT_TRUE(eventually([&] { return store.counters().uploads == 1; }));
  EXPECT_EQ(store.counters().upload_drops, 1u);
}

// A signal of the host's lands on a thread of the host's.
TEST_F(Upload, TakesNoSignalOfTheProcess) {
  const int status = status_of_child([&] {
    static std::atomic<bool> handled = false;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    // Blocked on every other thread: the only one that could take it is the upload's.
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    TestServer server(hang);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    RemoteStore store(options(server.url()));
    store.publish(made.key, made.entry);
    if (!eventually([&] { return server.requests().size() == 1; })) return 2;
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    std::signal(SIGUSR1, [](int) { handled = true; });
    ::kill(::getpid(), SIGUSR1);
    std::this_thread::sleep_for(milliseconds(50));
    return handled ? 1 : 0;
  });
  EXPECT_EQ(status, 0);
}

class RemoteTier : public Upload {
 protected:
  // A server that keeps what it is sent.
  TestServer::Answer keeps() {
    return [this](const TestServer::Request& request, const TestServer::Connection& client) {
      if (request.method == "PUT") kept[request.path] = request.body;
      const auto found = kept.find(request.path);
      client.send(found == kept.end() ? response(404, "")
                                      : response(200, request.method == "PUT" ? "" : found->second));
    };
  }

  TierOptions tiers(const std::string& url) {
    TierOptions tiers;
    tiers.folders = warnings.options(/*flush=*/false);
    tiers.remote.server.url = url;
    return tiers;
  }

  std::map<std::string, std::string> kept;
  const test::TemporaryFolder folder;
};

TEST_F(RemoteTier, OneMachineCompilesForAll) {
  TestServer server(keeps());
  {
    TieredCache first(folder / "first", tiers(server.url()));
    EXPECT_FALSE(first.find(made.key, "sm_90a"));
    EXPECT_TRUE(first.publish(made.key, made.entry));
    EXPECT_EQ(first.counters().remote.misses, 1u);
  }
  TieredCache second(folder / "second", tiers(server.url()));
  const auto below = second.find(made.key, "sm_90a");
  ASSERT_TRUE(below.has_value());
  EXPECT_EQ(below->entry, made.entry);
  EXPECT_EQ(below->tier, Tier::remote);
  EXPECT_TRUE(below->promoted);
  const auto above = second.find(made.key, "sm_90a");
  ASSERT_TRUE(above.has_value());
  EXPECT_EQ(above->tier, Tier::writable);
  EXPECT_EQ(second.counters().remote.hits, 1u);
  EXPECT_EQ(second.counters().promotions, 1u);
  EXPECT_EQ(server.requests().size(), 3u) << "GET, PUT, GET: what came from the server is not sent back";
  EXPECT_EQ(test::read_file(folder / ("first/" + entry_name(made.key))),
            test::read_file(folder / ("second/" + entry_name(made.key))));
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(RemoteTier, IsNotAskedForWhatAFolderHas) {
  TestServer server(keeps());
  EXPECT_TRUE(DiskCache(folder / "image").publish(made.key, made.entry));
  TierOptions options = tiers(server.url());
  options.read_only_roots = {folder / "image"};
  TieredCache cache(folder / "own", options);
  EXPECT_TRUE(cache.find(made.key, "sm_90a").has_value());
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(RemoteTier, IsAskedOnceForWhatIsCompiled) {
  TestServer server(answers(response(404, "")));
  TieredCache cache(folder / "own", tiers(server.url()));
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_TRUE(static_cast<bool>(cache.make_once(made.key, "sm_90a", [&] { return made.entry; })));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(RemoteTier, ThatFailsLeavesTheFoldersAtWork) {
  TestServer server(answers(response(500, "")));
  TieredCache cache(folder / "own", tiers(server.url()));
  EXPECT_FALSE(cache.find(made.key, "sm_90a"));
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  const auto found = cache.find(made.key, "sm_90a");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->entry, made.entry);
  EXPECT_EQ(cache.counters().remote.failures, 1u);
  EXPECT_EQ(warnings.lines().size(), 1u);
}

TEST_F(RemoteTier, ServesWithoutAFolder) {
  TestServer server(keeps());
  kept["/cache/" + made.key.digest()] = encode(made.entry);
  TieredCache cache("", tiers(server.url()));
  const auto found = cache.find(made.key, "sm_90a");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->entry, made.entry);
  EXPECT_FALSE(found->promoted);
}

}  // namespace
}  // namespace mhcjit::cache
