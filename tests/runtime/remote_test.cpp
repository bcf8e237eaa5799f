// An engine asks a server for what its folders do not have and sends it what it compiles; options and variables name
// server and key alike, and nothing that is wrong with either keeps a kernel from running.
#include <sys/stat.h>

#include <cstdlib>
#include <map>

#include "runtime/cache_settings.h"
#include "runtime/doctor.h"
#include "support/error.h"
#include "tests/cache/test_server.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

using cache::TestServer;

class EngineRemote : public FakeGpuTest {
 protected:
  void SetUp() override {
    FakeGpuTest::SetUp();
    write_file(key_file, "0123456789abcdef0123456789abcdef\n");
    ASSERT_EQ(::chmod(key_file.c_str(), 0600), 0);
    chosen = options();
    chosen.remote_url = url.c_str();
  }
  void TearDown() override {
    for (const char* name :
         {"MHCJIT_CACHE_REMOTE", "MHCJIT_CACHE_REMOTE_READ_ONLY", "MHCJIT_CACHE_KEY_FILE", "SSL_CERT_FILE"})
      ::unsetenv(name);
  }

  // With a cache folder of its own, as on another machine.
  EnginePtr engine_on(const std::string& machine) {
    const std::string own_folder = folder / machine;
    chosen.cache_dir = own_folder.c_str();
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  // Kernels of forward_problem, an entry each.
  const std::uint64_t kernels = kernels_of(forward_problem).size();
  const std::string key_file = folder / "key";
  std::map<std::string, std::string> kept;
  // It keeps what it is sent.
  TestServer server{[this](const TestServer::Request& request, const TestServer::Connection& client) {
    if (request.method == "PUT") kept[request.path] = request.body;
    const auto found = kept.find(request.path);
    client.send(found == kept.end() ? cache::response(404, "")
                                    : cache::response(200, request.method == "PUT" ? "" : found->second));
  }};
  const std::string url = server.url();
  mhcjit_engine_options chosen = {};
};

TEST_F(EngineRemote, WhatOneMachineCompilesAnotherLoads) {
  {
    const EnginePtr first = engine_on("first");
    EXPECT_NE(prepare(first, forward_problem), nullptr);
    EXPECT_EQ(counters(first).misses, kernels);
    EXPECT_EQ(counters(first).remote_hits, 0u);
    EXPECT_TRUE(cache::eventually([&] { return counters(first).remote_uploads == kernels; }));
  }
  const EnginePtr second = engine_on("second");
  EXPECT_NE(prepare(second, forward_problem), nullptr);
  EXPECT_EQ(counters(second).remote_hits, kernels);
  EXPECT_EQ(counters(second).promotions, kernels);
  EXPECT_EQ(counters(second).misses, 0u);
  EXPECT_EQ(counters(second).disk_hits, 0u);
  EXPECT_EQ(compiler().compiles, static_cast<int>(kernels));

  chosen.remote_url = "";
  const EnginePtr again = engine_on("second");
  EXPECT_NE(prepare(again, forward_problem), nullptr) << "the copy serves without the server";
  EXPECT_EQ(counters(again).disk_hits, kernels);
  EXPECT_EQ(warnings, std::vector<std::string>{});
}

TEST_F(EngineRemote, TheVariablesServeWhereTheOptionsAreNull) {
  ASSERT_EQ(::setenv("MHCJIT_CACHE_REMOTE", url.c_str(), 1), 0);
  ASSERT_EQ(::setenv("MHCJIT_CACHE_KEY_FILE", key_file.c_str(), 1), 0);
  chosen.remote_url = "";
  prepare(engine_on("silent"), forward_problem);
  EXPECT_TRUE(server.requests().empty()) << "the option overrides the variable";
  chosen.remote_url = nullptr;
  prepare(engine_on("first"), forward_problem);
  ASSERT_EQ(kept.size(), kernels);
  for (const auto& [path, body] : kept) EXPECT_NE(body.find("MHCJIT-HMAC-256\n"), std::string::npos) << path;

  ASSERT_EQ(::setenv("MHCJIT_CACHE_REMOTE_READ_ONLY", "1", 1), 0);
  prepare(engine_on("second"), backward_problem);
  EXPECT_EQ(kept.size(), kernels);
}

TEST_F(EngineRemote, TheUsualVariableNamesTheCertificatesToTrust) {
  const auto ca_file = [&] {
    return runtime::cache_settings(llvm::cantFail(runtime::settings_from(chosen))).tiers.remote.server.ca_file;
  };
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_EQ(ca_file(), "");
  ASSERT_EQ(::setenv("SSL_CERT_FILE", "/own/ca.pem", 1), 0);
  EXPECT_EQ(ca_file(), "/own/ca.pem");
}

TEST_F(EngineRemote, NothingIsSentToAServerThatIsOnlyRead) {
  chosen.remote_read_only = 1;
  prepare(engine_on("first"), forward_problem);
  EXPECT_TRUE(kept.empty());
  EXPECT_EQ(server.requests().size(), kernels);
}

TEST_F(EngineRemote, AWrongOptionIsAnErrorAndAWrongVariableAWarning) {
  mhcjit_engine* engine = nullptr;
  chosen.remote_url = "ftp://user:secret@host/";
  expect_failure(mhcjit_engine_create(&chosen, &engine), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"remote_url is 'ftp://...@host/'", "http://HOST"});
  chosen.remote_url = nullptr;
  chosen.remote_read_only = 2;
  expect_failure(mhcjit_engine_create(&chosen, &engine), MHCJIT_ERROR_INVALID_ARGUMENT, {"remote_read_only is 2"});
  chosen.remote_read_only = 0;
  ASSERT_EQ(::setenv("MHCJIT_CACHE_REMOTE_READ_ONLY", "yes", 1), 0);
  expect_failure(mhcjit_engine_create(&chosen, &engine), MHCJIT_ERROR_INVALID_ARGUMENT,
                 {"MHCJIT_CACHE_REMOTE_READ_ONLY is 'yes'"});
  ::unsetenv("MHCJIT_CACHE_REMOTE_READ_ONLY");

  ASSERT_EQ(::setenv("MHCJIT_CACHE_REMOTE", "ftp://user:secret@host/", 1), 0);
  const EnginePtr works = engine_on("first");
  EXPECT_NE(prepare(works, forward_problem), nullptr);
  EXPECT_EQ(counters(works).remote_failures, 1u);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_EQ(warnings[0].find("secret"), std::string::npos) << warnings[0];
}

TEST_F(EngineRemote, WhatCarriesNoTagIsCompiledWhereThereIsAKey) {
  prepare(engine_on("first"), forward_problem);
  ASSERT_EQ(kept.size(), kernels);
  chosen.hmac_key_file = key_file.c_str();
  {
    const EnginePtr second = engine_on("second");
    EXPECT_NE(prepare(second, forward_problem), nullptr);
    EXPECT_EQ(counters(second).remote_failures, 1u);
    EXPECT_EQ(counters(second).misses, kernels);
  }
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("tag is absent"), std::string::npos) << warnings[0];
  chosen.remote_url = "";
  EXPECT_NE(prepare(engine_on("first"), forward_problem), nullptr) << "nor is the folder's";
  EXPECT_EQ(compiler().compiles, static_cast<int>(3 * kernels));
}

// Others that have the key would refuse what this process stored, and it cannot tell what they stored.
TEST_F(EngineRemote, WithoutTheKeyThatWasAskedForNoCacheIsUsed) {
  prepare(engine_on("first"), forward_problem);
  const std::size_t requests = server.requests().size();
  const int files = folder.file_count();
  ASSERT_EQ(::chmod(key_file.c_str(), 0644), 0);
  chosen.hmac_key_file = key_file.c_str();
  const EnginePtr engine = engine_on("first");
  EXPECT_NE(prepare(engine, forward_problem), nullptr);
  EXPECT_EQ(counters(engine).misses, kernels);
  EXPECT_EQ(folder.file_count(), files);
  EXPECT_EQ(server.requests().size(), requests);
  ASSERT_EQ(warnings.size(), 1u);
  EXPECT_NE(warnings[0].find("no cache is used"), std::string::npos) << warnings[0];
  EXPECT_NE(warnings[0].find("chmod 600"), std::string::npos) << warnings[0];
}

TEST_F(EngineRemote, AKernelOfTheServerThatTheDriverRefusesIsReplacedThere) {
  prepare(engine_on("first"), forward_problem);
  driver().fail("cuLibraryLoadData", CUDA_ERROR_INVALID_IMAGE);
  const EnginePtr second = engine_on("second");
  EXPECT_NE(prepare(second, forward_problem), nullptr);
  EXPECT_EQ(counters(second).remote_hits, kernels);
  EXPECT_EQ(counters(second).misses, 1u);
  EXPECT_TRUE(cache::eventually([&] { return counters(second).remote_uploads == 1; }));
}

TEST_F(EngineRemote, DoctorAsksTheServerAndReadsTheKey) {
  chosen.cache_dir = cache_dir.c_str();
  chosen.hmac_key_file = key_file.c_str();
  const auto find_out = [&] { return llvm::cantFail(runtime::find_out(chosen)); };
  EXPECT_EQ(find_out().remote.url, url);
  EXPECT_EQ(find_out().remote.problem, "");
  EXPECT_EQ(find_out().key_file.path, key_file);
  EXPECT_EQ(find_out().key_file.problem, "");
  EXPECT_TRUE(kept.empty());

  // A server that has a page for every name.
  TestServer pages{[](const TestServer::Request&, const TestServer::Connection& client) {
    client.send(cache::response(200, "<html>not found</html>"));
  }};
  const std::string url_of_pages = pages.url();
  chosen.remote_url = url_of_pages.c_str();
  EXPECT_NE(find_out().remote.problem.find("answered with 22 bytes, it should be with status 404"), std::string::npos)
      << find_out().remote.problem;

  int port = 0;
  ::close(cache::loopback_socket(port));
  const std::string closed = fmt::format("http://user:secret@127.0.0.1:{}/x", port);
  chosen.remote_url = closed.c_str();
  ASSERT_EQ(::chmod(key_file.c_str(), 0640), 0);
  EXPECT_EQ(find_out().remote.url, fmt::format("http://...@127.0.0.1:{}/x", port));
  EXPECT_NE(find_out().remote.problem.find("unset MHCJIT_CACHE_REMOTE"), std::string::npos);
  EXPECT_EQ(find_out().remote.problem.find("secret"), std::string::npos);
  EXPECT_NE(find_out().key_file.problem.find("chmod 600"), std::string::npos);
}

}  // namespace
}  // namespace mhcjit::test
