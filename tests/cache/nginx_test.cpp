// A plain WebDAV server, as an operator would set one up (docs/cache.md): what one machine uploads another finds, and a
// server that takes no uploads still serves.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <csignal>

#include "cache/entry_file.h"
#include "cache/tiered_cache.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"
#include "tests/cache/test_server.h"

namespace mhcjit::cache {
namespace {

// An nginx of its own on a loopback port. All that it writes is in a folder of its own.
class Nginx {
 public:
  // With `tls_name` it speaks https, with a certificate of its own making for that name.
  explicit Nginx(const std::string& dav_methods, const std::string& tls_name = "")
      : scheme_(tls_name.empty() ? "http" : "https") {
    if (!tls_name.empty()) make_certificate(tls_name);
    std::filesystem::create_directory(folder_ / "data");
    // Another process may take the port between its choice and nginx's own bind.
    for (int attempt = 0; attempt < 5 && !serves_; ++attempt) {
      stop();
      ::close(loopback_socket(port_));
      start(dav_methods);
      serves_ = eventually([&] { return accepts() || has_ended(); }) && !has_ended();
    }
    EXPECT_TRUE(serves_) << test::read_file(folder_ / "error.log");
  }
  Nginx(const Nginx&) = delete;
  Nginx& operator=(const Nginx&) = delete;
  ~Nginx() { stop(); }

  std::string url() const { return fmt::format("{}://127.0.0.1:{}/mhcjit", scheme_, port_); }
  std::string certificate() const { return folder_ / "certificate.pem"; }
  std::string stored(const CacheKey& key) const { return folder_ / ("data/mhcjit/" + key.digest()); }
  std::string log() const { return test::read_file(folder_ / "access.log"); }

 private:
  void start(const std::string& dav_methods) {
    const std::string configuration = fmt::format(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n"
        "events {{ worker_connections 64; }}\n"
        "http {{\n"
        "  access_log {0}/access.log; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n"
        "  fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n"
        "  server {{\n"
        "    listen 127.0.0.1:{1}{3};\n"
        "    location /mhcjit/ {{\n"
        "      root {0}/data; dav_methods {2}; create_full_put_path on; client_max_body_size 65m;\n"
        "    }}\n"
        "  }}\n"
        "}}\n",
        folder_.path(), port_, dav_methods,
        scheme_ == "http" ? "" : fmt::format(" ssl; ssl_certificate {}; ssl_certificate_key {}", certificate(), key()));
    test::write_file(folder_ / "nginx.conf", configuration);
    process_ = spawn({MHCJIT_NGINX, "-p", folder_.path(), "-c", folder_ / "nginx.conf", "-e", folder_ / "error.log"});
  }

  std::string key() const { return folder_ / "key.pem"; }

  void make_certificate(const std::string& name) const {
    const pid_t openssl = spawn({MHCJIT_OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                                 "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=mhcjit test",
                                 "-addext", "subjectAltName=" + name, "-keyout", key(), "-out", certificate()});
    EXPECT_EQ(wait_for_child(openssl), 0);
  }

  static pid_t spawn(std::vector<std::string> command) {
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    pid_t process = 0;
    EXPECT_EQ(::posix_spawn(&process, arguments[0], nullptr, nullptr, arguments.data(), environ), 0) << command[0];
    return process;
  }

  bool accepts() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    const bool connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
  }

  bool has_ended() {
    if (process_ > 0 && ::waitpid(process_, nullptr, WNOHANG) == process_) process_ = 0;
    return process_ <= 0;
  }

  void stop() {
    if (has_ended()) return;
    ::kill(process_, SIGTERM);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

  const test::TemporaryFolder folder_;
  const std::string scheme_;
  int port_ = 0;
  pid_t process_ = 0;
  bool serves_ = false;
};

class WebDav : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(MHCJIT_NGINX))
      GTEST_SKIP() << "NOT RUN: there is no nginx, run scripts/install-deps --tests";
  }

  TierOptions tiers(const std::string& url, const std::string& hmac_key = "", const std::string& ca_file = "") {
    TierOptions tiers;
    tiers.folders = warnings.options(/*flush=*/false);
    tiers.folders.hmac_key = hmac_key;
    tiers.remote.server.url = url;
    tiers.remote.server.ca_file = ca_file;
    return tiers;
  }

  const Sample made = sample(), more = sample(2);
  const test::TemporaryFolder folder;
  Warnings warnings;
};

TEST_F(WebDav, WhatOneMachineUploadsAnotherFinds) {
  for (const std::string& key : {std::string(), std::string("0123456789abcdef0123456789abcdef")}) {
    const Nginx nginx("PUT");
    const std::string first_root = folder / ("first" + key), second_root = folder / ("second" + key);
    {
      TieredCache first(first_root, tiers(nginx.url(), key));
      EXPECT_FALSE(first.find(made.key, "sm_90a"));
      for (const Sample& each : {made, more}) EXPECT_TRUE(first.publish(each.key, each.entry));
      EXPECT_TRUE(first.publish(made.key, made.entry)) << "a second time replaces it";
      EXPECT_EQ(first.counters().remote.misses, 1u);
    }
    EXPECT_EQ(test::read_file(nginx.stored(made.key)), file_with(key, made));

    TieredCache second(second_root, tiers(nginx.url(), key));
    for (const Sample& each : {made, more}) {
      const auto found = second.find(each.key, "sm_90a");
      ASSERT_TRUE(found.has_value()) << nginx.log();
      EXPECT_EQ(found->entry, each.entry);
      EXPECT_EQ(found->tier, Tier::remote);
      EXPECT_EQ(test::read_file(second_root + "/" + entry_name(each.key)),
                test::read_file(first_root + "/" + entry_name(each.key)));
    }
    EXPECT_FALSE(second.find(sample(3).key, "sm_90a"));
    EXPECT_EQ(second.counters().remote.hits, 2u);
    EXPECT_EQ(second.counters().remote.misses, 1u);
    EXPECT_EQ(second.counters().remote.failures, 0u);
  }
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(WebDav, OverHttpsWithACertificateThatIsTrusted) {
  if (!std::filesystem::exists(MHCJIT_OPENSSL)) GTEST_SKIP() << "NOT RUN: there is no openssl";
  const Nginx nginx("PUT", "IP:127.0.0.1");
  const TierOptions trusting = tiers(nginx.url(), "", nginx.certificate());
  {
    TieredCache first(folder / "first", trusting);
    EXPECT_FALSE(first.find(made.key, "sm_90a"));
    EXPECT_TRUE(first.publish(made.key, made.entry));
  }
  EXPECT_EQ(test::read_file(nginx.stored(made.key)), encode(made.entry));
  const auto found = TieredCache(folder / "second", trusting).find(made.key, "sm_90a");
  ASSERT_TRUE(found.has_value()) << nginx.log();
  EXPECT_EQ(found->entry, made.entry);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

// The server has the entry, and nothing of it is used.
TEST_F(WebDav, OverHttpsWithACertificateThatIsNotToBeTrustedIsAMiss) {
  if (!std::filesystem::exists(MHCJIT_OPENSSL)) GTEST_SKIP() << "NOT RUN: there is no openssl";
  enum class CaFile { none, own, absent };
  struct Case {
    const char* what;
    const char* name;
    CaFile ca_file;
  };
  for (const Case& wrong : {Case{"nobody vouches for it", "IP:127.0.0.1", CaFile::none},
                            Case{"it is another host's", "DNS:cache.example", CaFile::own},
                            Case{"the file of those to trust is not there", "IP:127.0.0.1", CaFile::absent}}) {
    SCOPED_TRACE(wrong.what);
    const Nginx nginx("PUT", wrong.name);
    std::filesystem::create_directories(std::filesystem::path(nginx.stored(made.key)).parent_path());
    test::write_file(nginx.stored(made.key), encode(made.entry));
    Warnings warned;
    TierOptions options = tiers(nginx.url());
    options.folders = warned.options(/*flush=*/false);
    if (wrong.ca_file == CaFile::own) options.remote.server.ca_file = nginx.certificate();
    if (wrong.ca_file == CaFile::absent) options.remote.server.ca_file = folder / "absent.pem";
    TieredCache cache(folder / wrong.name, options);
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    EXPECT_TRUE(cache.publish(more.key, more.entry)) << "the folder is not the server";
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    EXPECT_EQ(cache.counters().remote.failures, 1u) << "it is asked once";
    EXPECT_EQ(nginx.log(), "") << "a request got through";
    ASSERT_EQ(warned.lines().size(), 1u);
    EXPECT_NE(warned.lines()[0].find("is not used any more by this process: GET failed: "), std::string::npos)
        << warned.lines()[0];
  }
}

TEST_F(WebDav, AnEntryThatSomebodyChangedThereIsNotUsed) {
  const Nginx nginx("PUT");
  {
    TieredCache(folder / "first", tiers(nginx.url())).publish(made.key, made.entry);
  }
  std::string bytes = test::read_file(nginx.stored(made.key));
  ASSERT_FALSE(bytes.empty());
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  test::write_file(nginx.stored(made.key), bytes);
  TieredCache second(folder / "second", tiers(nginx.url()));
  EXPECT_FALSE(second.find(made.key, "sm_90a"));
  EXPECT_EQ(second.counters().remote.failures, 1u);
  EXPECT_EQ(warnings.lines().size(), 1u);
}

TEST_F(WebDav, WithoutPutStillServes) {
  const Nginx nginx("off");
  std::filesystem::create_directories(std::filesystem::path(nginx.stored(made.key)).parent_path());
  test::write_file(nginx.stored(made.key), encode(made.entry));
  TieredCache cache(folder / "own", tiers(nginx.url()));
  EXPECT_TRUE(cache.publish(more.key, more.entry));
  ASSERT_TRUE(eventually([&] { return cache.counters().remote.failures == 1; }));
  EXPECT_TRUE(cache.find(made.key, "sm_90a").has_value());
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("takes no uploads, this process makes no more: PUT is answered with status 405"),
            std::string::npos)
      << warnings.lines()[0];
}

}  // namespace
}  // namespace mhcjit::cache
