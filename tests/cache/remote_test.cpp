// The server of a remote cache is slow, gone, broken or an enemy: a miss, the right counter, one warning, no second
// request, and never a byte that was not checked or a wait beyond the time-outs.
#include <chrono>

#include "cache/entry_file.h"
#include "cache/remote_store.h"
#include "cache/remote_url.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"
#include "tests/cache/test_server.h"

namespace mhcjit::cache {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

const std::string our_key = "0123456789abcdef0123456789abcdef";

class Remote : public ::testing::Test {
 protected:
  static RemoteOptions options(const std::string& url, Warnings& warnings) {
    RemoteOptions options;
    options.server.url = url;
    options.log = warnings.options().log;
    return options;
  }
  RemoteOptions options(const std::string& url) { return options(url, warnings); }

  // Two asks: the first meets the failure, the second does not reach the server, nor does what another store asks.
  void expect_switched_off(const TestServer::Answer& answer, const std::string& reason,
                           const std::string& hmac_key = "") {
    TestServer server(answer);
    Warnings own;
    RemoteOptions with_key = options(server.url(), own);
    with_key.hmac_key = hmac_key;
    RemoteStore store(with_key), second(with_key);
    const Clock::time_point start = Clock::now();
    EXPECT_FALSE(store.find(made.key, "sm_90a"));
    EXPECT_LT(since(start), milliseconds(10000)) << "the time-out is 2 s, the rest is for a busy machine";
    EXPECT_FALSE(store.find(made.key, "sm_90a"));
    EXPECT_FALSE(second.find(made.key, "sm_90a"));
    second.publish(made.key, made.entry);
    EXPECT_EQ(store.counters().failures, 1u);
    EXPECT_EQ(store.counters().hits + store.counters().misses, 0u);
    EXPECT_EQ(second.counters().failures, 0u);
    EXPECT_EQ(server.requests().size(), 1u);
    ASSERT_EQ(own.lines().size(), 1u);
    const std::string expected =
        fmt::format("remote cache '{}' is not used any more by this process: {}", server.url(), reason);
    EXPECT_EQ(own.lines()[0].substr(0, expected.size()), expected);
  }

  static TestServer::Answer answers(const std::string& bytes) {
    return [bytes](const TestServer::Request&, const TestServer::Connection& client) { client.send(bytes); };
  }

  static void hang(const TestServer::Request&, const TestServer::Connection& client) { client.hang(); }

  const Sample made = sample();
  const std::string sound = encode(made.entry);
  Warnings warnings;
};

TEST_F(Remote, GivesWhatTheServerHas) {
  TestServer server(answers(response(200, sound)));
  RemoteStore store(options(server.url() + "//"));
  EXPECT_EQ(store.find(made.key, "sm_90a"), made.entry);
  EXPECT_EQ(store.counters().hits, 1u);
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_EQ(server.requests()[0].method, "GET");
  EXPECT_EQ(server.requests()[0].path, "/cache/" + made.key.digest());
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Remote, AnAbsentEntryIsAMissAndNoFailure) {
  TestServer server(answers(response(404, "no such entry")));
  RemoteStore store(options(server.url()));
  for (int time = 0; time < 3; ++time) EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_EQ(store.counters().misses, 3u);
  EXPECT_EQ(store.counters().failures, 0u);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Remote, NobodyListens) {
  int port = 0;
  ::close(loopback_socket(port));
  RemoteStore store(options(fmt::format("http://127.0.0.1:{}/x", port)));
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_EQ(store.counters().failures, 1u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("GET failed: Failed to connect"), std::string::npos) << warnings.lines()[0];
}

// The listener's queue is full, so that the connection is never made.
TEST_F(Remote, HangsBeforeTheConnection) {
  int port = 0;
  const int listener = loopback_socket(port);
  ASSERT_EQ(::listen(listener, 0), 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  std::vector<int> waiting;
  for (int i = 0; i < 4; ++i) {
    waiting.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    static_cast<void>(::connect(waiting.back(), reinterpret_cast<const sockaddr*>(&address), sizeof address));
  }
  RemoteStore store(options(fmt::format("http://127.0.0.1:{}/x", port)));
  const Clock::time_point start = Clock::now();
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_GE(since(start), milliseconds(400));
  EXPECT_LT(since(start), milliseconds(10000));
  EXPECT_EQ(store.counters().failures, 1u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_EQ(warnings.lines()[0].find("Operation timed out"), std::string::npos)
      << "it waited for longer than a connection may take: " << warnings.lines()[0];
  for (const int fd : waiting) ::close(fd);
  ::close(listener);
}

TEST_F(Remote, HangsBeforeTheHeader) { expect_switched_off(hang, "GET failed: Operation timed out"); }

TEST_F(Remote, HangsInTheHeader) {
  expect_switched_off(
      [](const TestServer::Request&, const TestServer::Connection& client) {
        client.send("HTTP/1.1 200 OK\r\nContent-Le");
        client.hang();
      },
      "GET failed: Operation timed out");
}

TEST_F(Remote, HangsInTheBody) {
  expect_switched_off(
      [this](const TestServer::Request&, const TestServer::Connection& client) {
        const std::string whole = response(200, sound);
        client.send(whole.substr(0, whole.size() - 10));
        client.hang();
      },
      "GET failed: Operation timed out");
}

// Each byte comes in time for the next, and all of them would take hours.
TEST_F(Remote, Trickles) {
  expect_switched_off(
      [this](const TestServer::Request&, const TestServer::Connection& client) {
        for (const char byte : response(200, sound)) {
          if (!client.send(std::string(1, byte))) return;
          std::this_thread::sleep_for(milliseconds(50));
        }
      },
      "GET failed: Operation timed out");
}

TEST_F(Remote, CutsTheBody) {
  const std::string whole = response(200, sound);
  expect_switched_off(answers(whole.substr(0, whole.size() - 10)),
                      "GET failed: transfer closed with 10 bytes remaining");
}

// Without a length the end of the connection is the end of the body.
TEST_F(Remote, CutsABodyOfUnknownLength) {
  expect_switched_off(answers("HTTP/1.1 200 OK\r\n\r\n" + sound.substr(0, sound.size() - 10)),
                      "cache entry: total length is");
}

TEST_F(Remote, ClosesWithoutAnAnswer) { expect_switched_off(answers(""), "GET failed: Empty reply from server"); }

TEST_F(Remote, SpeaksAnotherProtocol) {
  expect_switched_off(answers("220 mail.example ESMTP\r\n"), "GET failed: Received HTTP/0.9 when not allowed");
}

TEST_F(Remote, GivesWrongBytes) {
  std::string bytes = sound;
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  expect_switched_off(answers(response(200, bytes)), "cache entry: checksum is");
}

TEST_F(Remote, GivesNothing) {
  expect_switched_off(answers(response(200, "")), "cache entry: size is 0, it should be 56 to 67108864");
}

TEST_F(Remote, GivesAnotherKeysEntry) {
  expect_switched_off(answers(response(200, encode(sample(2).entry))), "cache entry: key text is another key's");
}

TEST_F(Remote, GivesAnotherArchitecturesCubin) {
  Entry entry = made.entry;
  entry.kernels[1].cubin = data_file("scale_nvrtc13.sm_80.cubin");
  expect_switched_off(answers(response(200, encode(entry))), "cubin: ");
}

TEST_F(Remote, GivesACutCubinUnderAFreshChecksum) {
  Entry entry = made.entry;
  Bytes& cubin = entry.kernels[1].cubin;
  cubin = cubin.part(llvm::StringRef(cubin).drop_back(96));
  expect_switched_off(answers(response(200, encode(entry))), "cubin: ");
}

TEST_F(Remote, GivesAnEntryWithoutATagWhereThereIsAKey) {
  expect_switched_off(answers(response(200, sound)), "cache entry: tag is absent", our_key);
}

TEST_F(Remote, GivesAnotherKeysTag) {
  expect_switched_off(answers(response(200, sound + tag_of(sound, "another key"))),
                      "cache entry: tag is another key's or another entry's", our_key);
}

TEST_F(Remote, GivesTheRightTag) {
  TestServer server(answers(response(200, sound + tag_of(sound, our_key))));
  RemoteOptions with_key = options(server.url());
  with_key.hmac_key = our_key;
  EXPECT_EQ(RemoteStore(with_key).find(made.key, "sm_90a"), made.entry);
}

TEST_F(Remote, AnnouncesMoreThanAnEntryMayHave) {
  expect_switched_off(answers("HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n" + sound),
                      "GET failed: the response has more than 67108912 bytes");
}

// The body is held to its limit where nothing is announced.
TEST_F(Remote, NeverStops) {
  std::atomic<std::size_t> sent = 0;
  TestServer server([&](const TestServer::Request&, const TestServer::Connection& client) {
    const std::string chunk = fmt::format("{:x}\r\n{}\r\n", 1 << 20, std::string(1 << 20, 'x'));
    client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (client.send(chunk)) sent += chunk.size();
  });
  RemoteStore store(options(server.url()));
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_EQ(store.counters().failures, 1u);
  EXPECT_EQ(warnings.lines().size(), 1u);
  constexpr std::size_t in_the_sockets = std::size_t{32} << 20;
  EXPECT_LT(sent, max_entry_file_bytes + in_the_sockets) << "in 2 s a client without a limit takes ten times as much";
}

TEST_F(Remote, NeverEndsItsHeader) {
  expect_switched_off(
      [](const TestServer::Request&, const TestServer::Connection& client) {
        client.send("HTTP/1.1 200 OK\r\n");
        while (client.send("Field: " + std::string(1000, 'x') + "\r\n")) continue;
      },
      "GET failed: the response's header has more than 65536 bytes");
}

TEST_F(Remote, AnswersWithAnotherStatus) {
  for (const int status : {500, 503, 401, 403, 204, 206, 304}) {
    expect_switched_off(answers(response(status, status == 206 ? sound : "")),
                        fmt::format("GET is answered with status {}, it should be 200 or 404", status));
  }
}

// It would lead to another server, or to a file of this machine.
TEST_F(Remote, Redirects) {
  TestServer other(answers(response(200, sound)));
  for (const std::string& target : {other.url() + "/" + made.key.digest(), std::string("file:///etc/passwd")}) {
    expect_switched_off(answers(response(301, "", "Location: " + target + "\r\n")),
                        "GET is answered with status 301, it should be 200 or 404 (redirects are not followed)");
  }
  EXPECT_TRUE(other.requests().empty());
}

TEST_F(Remote, ManyThreadsMeetOneFailureAtATime) {
  TestServer server(answers(response(500, "")));
  RemoteStore store(options(server.url()));
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) threads.emplace_back([&] { EXPECT_FALSE(store.find(made.key, "sm_90a")); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(warnings.lines().size(), 1u);
  EXPECT_EQ(store.counters().failures, server.requests().size());
}

TEST_F(Remote, HasNoLibcurl) {
  TestServer server(answers(response(200, sound)));
  RemoteOptions absent = options(server.url());
  absent.server.libcurl_path = "/nowhere/libcurl.so.4";
  RemoteStore store(absent);
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_FALSE(store.find(made.key, "sm_90a"));
  EXPECT_EQ(store.counters().failures, 1u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("process: /nowhere/libcurl.so.4 cannot be opened ("), std::string::npos);
  EXPECT_TRUE(warnings.lines()[0].ends_with("; install libcurl4"));

  TestServer next(answers(response(200, sound)));
  RemoteOptions wrong = options(next.url());
  wrong.server.libcurl_path = "libm.so.6";
  EXPECT_FALSE(RemoteStore(wrong).find(made.key, "sm_90a"));
  ASSERT_EQ(warnings.lines().size(), 2u);
  EXPECT_TRUE(warnings.lines()[1].ends_with("libm.so.6 is no libcurl: it has no curl_global_init; install libcurl4"));
}

// Where entries come from is what the host says, and no variable that a container sets for downloads.
TEST_F(Remote, AsksNoProxyOfTheEnvironment) {
  TestServer proxy(answers(response(200, encode(sample(2).entry)))), server(answers(response(200, sound)));
  const int status = status_of_child([&] {
    for (const char* name : {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"})
      ::setenv(name, proxy.url().c_str(), /*overwrite=*/1);
    return RemoteStore(options(server.url())).find(made.key, "sm_90a") == made.entry ? 0 : 1;
  });
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(proxy.requests().empty());
}

TEST_F(Remote, AnAddressThatIsNoneIsOffFromTheStart) {
  for (const char* url : {"ftp://host/x", "file:///etc/passwd", "host:80", "http://", "http://:80/x", "http:///x",
                          "http://host/x?y", "http://host/x#y", "http://host/a b", "http://host/\n", "http://host/\xc3",
                          "http://user:secret@/x", "user:secret@host/x"}) {
    Warnings own;
    RemoteStore store(options(url, own));
    EXPECT_FALSE(store.find(made.key, "sm_90a")) << url;
    EXPECT_EQ(store.counters().failures, 1u) << url;
    ASSERT_EQ(own.lines().size(), 1u) << url;
    EXPECT_NE(own.lines()[0].find("allowed: http://HOST[:PORT]/PATH or https://"), std::string::npos) << own.lines()[0];
    EXPECT_EQ(own.lines()[0].find("secret"), std::string::npos) << own.lines()[0];
  }
  EXPECT_EQ(llvm::cantFail(check_remote_url("https://user:p@host:1/a/b//")), "https://user:p@host:1/a/b");
  EXPECT_EQ(llvm::cantFail(check_remote_url("http://[::1]:80")), "http://[::1]:80");
  EXPECT_EQ(without_password("https://user:p@host:1/a@b"), "https://...@host:1/a@b");
  EXPECT_EQ(without_password("http://host/a@b"), "http://host/a@b");
}

TEST_F(Remote, APasswordIsSentAndNeverLogged) {
  TestServer server(answers(response(500, "")));
  std::string url = server.url();
  url.insert(url.find("127"), "user:secret@");
  EXPECT_FALSE(RemoteStore(options(url)).find(made.key, "sm_90a"));
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_EQ(warnings.lines()[0].find("secret"), std::string::npos) << warnings.lines()[0];
  ASSERT_EQ(server.requests().size(), 1u);
  EXPECT_NE(server.requests()[0].head.find("Authorization: Basic dXNlcjpzZWNyZXQ="), std::string::npos);
}

}  // namespace
}  // namespace mhcjit::cache
