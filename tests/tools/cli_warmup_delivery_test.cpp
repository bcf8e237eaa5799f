// A warm-up's verdict is about what a later process will find: every way in which an entry does not arrive in the cache
// folder or on the server is exit code 1 with its reason, and what stands in the way of all is said before the first
// compile.
#include <sys/stat.h>

#include <map>
#include <mutex>

#include <gtest/gtest.h>

#include "tests/cache/test_server.h"
#include "tests/tools/cli.h"

namespace mhcjit::test {
namespace {

namespace fs = std::filesystem;
using cache::response;
using cache::TestServer;

const std::string shape = "--n 1 --d 8 --arch sm_80";
const std::string warmup = "warmup " + shape + " --jobs 1";

std::vector<std::string> files_ending(const std::string& folder, const std::string& suffix) {
  std::vector<std::string> names;
  std::error_code absent;
  for (const auto& item : fs::directory_iterator(folder, absent))
    if (item.path().filename().string().ends_with(suffix)) names.push_back(item.path().filename());
  return names;
}

TEST(CliWarmupDelivery, AKeyFileThatIsNoneIsSaidBeforeTheFirstCompile) {
  const std::string key(32, 'k');
  const std::map<std::string, std::function<void(const std::string&)>> kinds = {
      {"is absent", [](const std::string&) {}},
      {"open to other users (mode 644)",
       [&](const std::string& path) {
         write_file(path, key);
         ::chmod(path.c_str(), 0644);
       }},
      {"is 31 bytes long", [&](const std::string& path) { write_file(path, key.substr(1)); }},
      {"is 4097 bytes long", [](const std::string& path) { write_file(path, std::string(4097, 'k')); }},
      {"is a link",
       [&](const std::string& path) {
         write_file(path + ".real", key);
         fs::create_symlink(path + ".real", path);
       }},
      {"it should be a regular file", [](const std::string& path) { fs::create_directory(path); }},
      {"is a folder, a FIFO or a device", [](const std::string& path) { ::mkfifo(path.c_str(), 0600); }}};
  for (const auto& [reason, make] : kinds) {
    Cli cli;
    const std::string path = cli.file("key");
    make(path);
    for (const std::string& name : {path, path + ".real"})
      if (reason != "open to other users (mode 644)" && fs::is_regular_file(name)) ::chmod(name.c_str(), 0600);
    cli.environment["MHCJIT_CACHE_KEY_FILE"] = path;
    const CliResult result = cli(warmup + " --json");
    EXPECT_EQ(result.exit_code, 1) << reason;
    EXPECT_EQ(error_code_of(result), "MHCJIT_ERROR_BAD_FILE") << reason;
    EXPECT_NE(result.err.find(reason), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("MHCJIT_CACHE_KEY_FILE"), std::string::npos) << result.err;
    EXPECT_FALSE(fs::exists(cli.cache())) << reason;
  }
}

TEST(CliWarmupDelivery, WithAKeyEveryEntryCarriesItsTag) {
  Cli cli;
  write_file(cli.file("key"), std::string(32, 'k'));
  ASSERT_EQ(::chmod(cli.file("key").c_str(), 0600), 0);
  EXPECT_EQ(cli(warmup).exit_code, 0);
  cli.environment["MHCJIT_CACHE_KEY_FILE"] = cli.file("key");
  EXPECT_EQ(json_of(cli(warmup + " --json")).getInteger("compiled"), 2) << "an entry without a tag is no hit";
  EXPECT_EQ(json_of(cli(warmup + " --json")).getInteger("hits"), 2);
}

// A limit of file sizes is a disk that is full for the tool, whoever runs it. The output of both goes through a pipe,
// which has none. 512 bytes a block.
TEST(CliWarmupDelivery, AFolderThatTakesNothingCompilesNothingButItsHitsCount) {
  const Cli cli;
  const auto limited = [&](int blocks) {
    return cli.shell(fmt::format("(ulimit -f {}; mhcjit {} 2>&1; echo exit code $?) | cat", blocks, warmup)).out;
  };
  const std::string cold = limited(0);
  EXPECT_NE(cold.find("0 compiled, 0 hits, 2 failed of 2"), std::string::npos) << cold;
  EXPECT_NE(cold.find("not written to the cache folder '" + cli.cache()), std::string::npos) << cold;
  EXPECT_NE(cold.find("nothing is compiled"), std::string::npos) << cold;
  EXPECT_NE(cold.find("File too large"), std::string::npos) << cold;
  EXPECT_TRUE(cold.ends_with("exit code 1\n")) << cold;

  // There is room for the probe, and not for an entry.
  const std::string compiled = limited(9);
  EXPECT_NE(compiled.find("0 compiled, 0 hits, 2 failed of 2"), std::string::npos) << compiled;
  EXPECT_EQ(compiled.find("nothing is compiled"), std::string::npos) << compiled;
  EXPECT_NE(compiled.find("File too large"), std::string::npos) << compiled;
  EXPECT_TRUE(compiled.ends_with("exit code 1\n")) << compiled;
  EXPECT_EQ(files_ending(cli.cache(), ".tmp"), std::vector<std::string>{});

  ASSERT_EQ(cli(warmup).exit_code, 0);
  const std::string warm = limited(0);
  EXPECT_NE(warm.find("0 compiled, 2 hits, 0 failed of 2"), std::string::npos) << warm;
  EXPECT_TRUE(warm.ends_with("exit code 0\n")) << warm;
}

// A folder that was made by an older version, or lost the file.
TEST(CliWarmupDelivery, AHitIsFoundWithoutACompilerAfterwards) {
  const Cli cli;
  ASSERT_EQ(cli(warmup).exit_code, 0);
  const std::string record = cli.cache() + "/compiler_identity", line = read_file(record);
  ASSERT_EQ(line.find("nvrtc 13."), 0u);
  fs::remove(record);
  EXPECT_EQ(cli(warmup).exit_code, 0);
  EXPECT_EQ(read_file(record), line);
}

// A WebDAV server in memory, which a test may spoil.
class Server {
 public:
  using Spoil = std::function<bool(const TestServer::Request&, const TestServer::Connection&)>;

  // True: the request is answered.
  Spoil spoil = [](const TestServer::Request&, const TestServer::Connection&) { return false; };

  std::string url() const { return server_.url(); }
  std::size_t puts() const {
    std::size_t count = 0;
    for (const TestServer::Request& request : server_.requests()) count += request.method == "PUT" ? 1 : 0;
    return count;
  }
  std::map<std::string, std::string> kept() const {
    const std::lock_guard lock(mutex_);
    return kept_;
  }
  void keep(const std::map<std::string, std::string>& files) {
    const std::lock_guard lock(mutex_);
    kept_ = files;
  }

 private:
  void answer(const TestServer::Request& request, const TestServer::Connection& connection) {
    if (spoil(request, connection)) return;
    const std::lock_guard lock(mutex_);
    if (request.method == "PUT") {
      kept_[request.path] = request.body;
      connection.send(response(201, ""));
    } else if (const auto found = kept_.find(request.path); found != kept_.end()) {
      connection.send(response(200, found->second));
    } else {
      connection.send(response(404, ""));
    }
  }

  mutable std::mutex mutex_;
  std::map<std::string, std::string> kept_;
  TestServer server_{[this](const auto& request, const auto& connection) { answer(request, connection); }};
};

class CliWarmupServer : public ::testing::Test {
 protected:
  void SetUp() override {
    cli.environment["MHCJIT_CACHE_REMOTE"] = server.url();
    for (const std::string op : {"pre_forward", "pre_backward"})
      entry_count += units_in(cli("emit --op " + op + " " + shape).out).size();
    ASSERT_GT(entry_count, 2u) << "a problem has several kernels";
  }

  // Two failures of this reason, once the kernels are in the folder.
  void expect_not_sent(const std::string& reason) {
    const CliResult result = cli(warmup + " --json");
    EXPECT_EQ(result.exit_code, 1) << result.err;
    const llvm::json::Object json = json_of(result);
    EXPECT_EQ(json.getInteger("failed"), 2);
    EXPECT_EQ(json.getInteger("compiled"), 0);
    EXPECT_EQ(json.getObject("remote_cache")->getInteger("sent"), 0);
    for (const llvm::json::Value& error : *json.getArray("errors")) {
      EXPECT_EQ(error.getAsObject()->getString("code"), "MHCJIT_ERROR_IO");
      const std::string text = error.getAsObject()->getString("text")->str();
      EXPECT_NE(text.find("in the cache folder and not on the remote cache '" + server.url()), std::string::npos)
          << text;
      EXPECT_NE(text.find(reason), std::string::npos) << text;
    }
    EXPECT_EQ(files_ending(cli.cache(), ".mhcjit").size(), entry_count);
    cli.environment["MHCJIT_CACHE_REMOTE_READ_ONLY"] = "1";
    const llvm::json::Object folder_alone = json_of(cli(warmup + " --json"));
    EXPECT_EQ(folder_alone.getInteger("hits"), 2);
    EXPECT_EQ(folder_alone.getInteger("failed"), 0);
  }

  Server server;
  Cli cli;
  std::size_t entry_count = 0;  // the kernels of the warm-up's two problems
};

TEST_F(CliWarmupServer, HasEveryKernelAfterwardsAndIsSentNothingTwice) {
  const CliResult first = cli(warmup + " --json");
  ASSERT_EQ(first.exit_code, 0) << first.err;
  EXPECT_EQ(json_of(first).getObject("remote_cache")->getInteger("sent"), static_cast<std::int64_t>(entry_count));
  EXPECT_EQ(json_of(first).getObject("remote_cache")->getString("url"), server.url());
  const auto kept = server.kept();
  EXPECT_EQ(kept.size(), entry_count);
  for (const std::string& name : files_ending(cli.cache(), ".mhcjit"))
    EXPECT_EQ(kept.at("/cache/" + name.substr(0, 64)), read_file(cli.cache() + "/" + name));

  const CliResult second = cli(warmup);
  EXPECT_EQ(second.exit_code, 0) << second.err;
  EXPECT_NE(second.out.find(", 0 sent to " + server.url()), std::string::npos) << second.out;
  EXPECT_EQ(server.puts(), entry_count);
}

// It was empty, or spoilt, when the folder was warm already.
TEST_F(CliWarmupServer, IsSentWhatTheFolderHasAlready) {
  ASSERT_EQ(cli(warmup).exit_code, 0);
  auto kept = server.kept();
  const auto sound = kept;
  kept.begin()->second += "damage";
  kept.erase(std::next(kept.begin()));
  server.keep(kept);
  const llvm::json::Object json = json_of(cli(warmup + " --json"));
  EXPECT_EQ(json.getInteger("hits"), 2);
  EXPECT_EQ(json.getInteger("failed"), 0);
  EXPECT_EQ(json.getObject("remote_cache")->getInteger("sent"), 2);
  EXPECT_EQ(server.kept(), sound);
}

TEST_F(CliWarmupServer, ThatRefusesUploadsIsAFailure) {
  server.spoil = [](const TestServer::Request& request, const TestServer::Connection& connection) {
    return request.method == "PUT" && connection.send(response(403, ""));
  };
  expect_not_sent("PUT is answered with status 403");
  EXPECT_EQ(server.puts(), 1u) << "what is refused is not asked again";
}

TEST_F(CliWarmupServer, ThatNeverAnswersUploadsIsAFailure) {
  server.spoil = [](const TestServer::Request& request, const TestServer::Connection& connection) {
    if (request.method != "PUT") return false;
    connection.hang();
    return true;
  };
  expect_not_sent("PUT failed: ");
  EXPECT_EQ(server.puts(), 1u);
}

TEST_F(CliWarmupServer, ThatTakesUploadsAndKeepsNothingIsAFailure) {
  server.spoil = [](const TestServer::Request& request, const TestServer::Connection& connection) {
    return request.method == "PUT" && connection.send(response(201, ""));
  };
  expect_not_sent("PUT is answered with success, and GET finds nothing");
}

TEST_F(CliWarmupServer, ThatIsNoCacheIsSaidBeforeTheFirstCompile) {
  server.spoil = [](const TestServer::Request&, const TestServer::Connection& connection) {
    return connection.send(response(500, ""));
  };
  for (const std::string& url : {server.url(), std::string("http://127.0.0.1:1/x"), std::string("no address")}) {
    cli.environment["MHCJIT_CACHE_REMOTE"] = url;
    const CliResult result = cli(warmup + " --json");
    EXPECT_EQ(result.exit_code, 1) << url;
    EXPECT_EQ(json_of(result).getInteger("failed"), 2);
    EXPECT_NE(result.err.find("nothing is compiled"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("MHCJIT_CACHE_REMOTE_READ_ONLY=1"), std::string::npos) << result.err;
    EXPECT_EQ(files_ending(cli.cache(), ""), std::vector<std::string>{});
  }
}

}  // namespace
}  // namespace mhcjit::test
