// Something bad stands under an entry's name: it must be a miss that is repaired, never a wrong kernel, a wait or a
// followed link.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

namespace fs = std::filesystem;

class Damage : public testing::Test {
 protected:
  // With the damage in place: a miss, counted, one warning with `reason`; then a repair that lasts.
  void expect_repaired_miss(const std::string& reason) {
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    EXPECT_EQ(cache.counters().corrupt_entries, 1u);
    EXPECT_EQ(cache.counters().read_failures, 0u);
    ASSERT_EQ(warnings.lines().size(), 1u);
    EXPECT_NE(warnings.lines()[0].find(reason), std::string::npos) << warnings.lines()[0];
    EXPECT_FALSE(fs::exists(fs::symlink_status(path))) << "not set aside";
    EXPECT_EQ(names_ending(folder.path(), ".bad").size(), 1u);

    EXPECT_TRUE(cache.publish(made.key, made.entry));
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
    EXPECT_EQ(warnings.lines().size(), 1u);
  }

  // The damage stands when the publisher never looked.
  void expect_publish_replaces_it() {
    EXPECT_TRUE(cache.publish(made.key, made.entry));
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
    EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
  }

  const test::TemporaryFolder folder;
  const Sample made = sample();
  const std::string path = folder / entry_name(made.key);
  Warnings warnings;
  DiskCache cache{folder.path(), warnings.options()};
};

TEST_F(Damage, EmptyFile) {
  test::write_file(path, "");
  expect_repaired_miss("size is 0, it should be 56 to 67108864");
}

TEST_F(Damage, CutFile) {
  const std::string sound = encode(made.entry);
  test::write_file(path, sound.substr(0, sound.size() - 96));
  expect_repaired_miss("total length is");
}

TEST_F(Damage, FlippedBytesOfTheCubin) {
  std::string bytes = encode(made.entry);
  for (std::size_t offset = bytes.size() - 1000; offset < bytes.size() - 936; ++offset) bytes[offset] ^= 0x5a;
  test::write_file(path, bytes);
  expect_repaired_miss("checksum is");
}

TEST_F(Damage, AnotherKeysEntry) {
  test::write_file(path, encode(sample(2).entry));
  expect_repaired_miss("key text is another key's");
}

TEST_F(Damage, AnotherArchitecturesEntry) {
  Entry entry = sample(1, 1, "sm_80").entry;
  entry.key_text = made.key.text();
  test::write_file(path, encode(entry));
  expect_repaired_miss("architecture is 'sm_80', it should be 'sm_90a'");
}

TEST_F(Damage, AnotherArchitecturesCubin) {
  Entry entry = made.entry;
  entry.kernels[1].cubin = data_file("scale_nvrtc12.sm_100a.cubin");
  test::write_file(path, encode(entry));
  expect_repaired_miss("SM number is 100, it should be 90");
}

TEST_F(Damage, HugeFile) {
  test::write_file(path, "x");
  fs::resize_file(path, std::uintmax_t{1} << 40);
  expect_repaired_miss("1099511627776 bytes long, it should be at most 67108912");
}

TEST_F(Damage, Folder) {
  fs::create_directories(path + "/full/of/things");
  expect_repaired_miss("a folder, a FIFO or a device, it should be a regular file");
}

TEST_F(Damage, FolderThatThePublisherNeverSaw) {
  fs::create_directories(path + "/full/of/things");
  expect_publish_replaces_it();
}

TEST_F(Damage, Fifo) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_repaired_miss("a folder, a FIFO or a device, it should be a regular file");
}

TEST_F(Damage, FifoThatThePublisherNeverSaw) {
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  expect_publish_replaces_it();
}

TEST_F(Damage, Socket) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string short_path = folder / "s";
  short_path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  fs::rename(short_path, path);
  expect_repaired_miss("a socket, it should be a regular file");
  ::close(fd);
}

TEST_F(Damage, LinkToASoundEntry) {
  const test::TemporaryFolder elsewhere;
  const std::string target = elsewhere / "target";
  test::write_file(target, encode(made.entry));
  fs::create_symlink(target, path);
  expect_repaired_miss("a link, it should be a regular file");
  EXPECT_EQ(test::read_file(target), encode(made.entry)) << "the link's target was touched";
}

TEST_F(Damage, LinkThatThePublisherNeverSaw) {
  const test::TemporaryFolder elsewhere;
  test::write_file(elsewhere / "target", "precious");
  fs::create_symlink(elsewhere / "target", path);
  expect_publish_replaces_it();
  EXPECT_EQ(test::read_file(elsewhere / "target"), "precious");
}

TEST_F(Damage, ManyBadEntriesAreOneWarningAndAllCounted) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    test::write_file(folder / entry_name(sample(seed).key), "damage " + std::to_string(seed));
    EXPECT_FALSE(cache.find(sample(seed).key, "sm_90a"));
  }
  EXPECT_EQ(cache.counters().corrupt_entries, 5u);
  EXPECT_EQ(warnings.lines().size(), 1u);
}

TEST_F(Damage, AnotherUsersEntry) {
  ASSERT_TRUE(cache.publish(made.key, made.entry));
  FaultyFileOps ops;
  ops.file_owner = ::geteuid() + 1;
  DiskCache wary(folder.path(), warnings.options(), ops);
  EXPECT_FALSE(wary.find(made.key, "sm_90a"));
  EXPECT_EQ(wary.counters().corrupt_entries, 1u);
  ASSERT_EQ(warnings.lines().size(), 1u);
  EXPECT_NE(warnings.lines()[0].find("owned by user " + std::to_string(*ops.file_owner)), std::string::npos);

  ASSERT_TRUE(cache.publish(made.key, made.entry));
  ops.file_owner = 0;
  EXPECT_EQ(wary.find(made.key, "sm_90a"), made.entry) << "root's entries are trusted";
  ops.file_owner = ::geteuid() + 1;
  Options shared = warnings.options();
  shared.allow_shared_root = true;
  EXPECT_EQ(DiskCache(folder.path(), shared, ops).find(made.key, "sm_90a"), made.entry);
}

}  // namespace
}  // namespace mhcjit::cache
