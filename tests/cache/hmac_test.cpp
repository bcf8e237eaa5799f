// Whoever may write a shared folder must not decide which machine code runs: with a key, an entry that was not made
// with it is refused, whatever else is right about it, and no key is read from a file that others can read.
#include <sys/stat.h>
#include <unistd.h>

#include <llvm/ADT/StringExtras.h>

#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "cache/hmac.h"
#include "cache/stored_entry.h"
#include "support/error.h"
#include "tests/cache/faulty_file_ops.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

const std::string our_key = "0123456789abcdef0123456789abcdef";

// RFC 4231, test cases 1 to 7; the fifth is about a cut of the output.
TEST(Hmac, GivesThePublishedVectors) {
  struct Vector {
    std::string key, message, mac;
  };
  std::string counted;
  for (char byte = 1; byte <= 25; ++byte) counted += byte;
  const std::vector<Vector> vectors = {
      {std::string(20, '\x0b'), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
      {"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
      {std::string(20, '\xaa'), std::string(50, '\xdd'),
       "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
      {counted, std::string(50, '\xcd'), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
      {std::string(20, '\x0c'), "Test With Truncation", "a3b6167473100ee06e0c796c2955552b"},
      {std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First",
       "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
      {std::string(131, '\xaa'),
       "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be "
       "hashed "
       "before being used by the HMAC algorithm.",
       "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"}};
  for (const Vector& vector : vectors) {
    const std::string mac = llvm::toHex(hmac_sha256(vector.key, vector.message), /*LowerCase=*/true);
    EXPECT_EQ(mac.substr(0, vector.mac.size()), vector.mac) << vector.message;
  }
}

TEST(Hmac, ComparesEveryByte) {
  const std::string bytes = "0123456789";
  EXPECT_TRUE(same_bytes(bytes, bytes));
  EXPECT_TRUE(same_bytes("", ""));
  EXPECT_FALSE(same_bytes(bytes, bytes + "0"));
  EXPECT_FALSE(same_bytes(bytes, ""));
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string other = bytes;
    other[at] = static_cast<char>(other[at] ^ 0x80);
    EXPECT_FALSE(same_bytes(bytes, other)) << at;
  }
}

class KeyFile : public ::testing::Test {
 protected:
  std::string refusal() {
    llvm::Expected<std::string> key = read_hmac_key(path);
    if (key) return "a key of " + std::to_string(key->size()) + " bytes";
    return take_failure(key.takeError()).text;
  }
  void write(const std::string& bytes, mode_t mode = 0600) {
    test::write_file(path, bytes);
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
  }

  test::TemporaryFolder folder;
  const std::string path = folder / "key";
};

TEST_F(KeyFile, IsReadLessItsLastNewline) {
  for (const std::string& bytes : {our_key, our_key + "\n"}) {
    write(bytes);
    EXPECT_EQ(llvm::cantFail(read_hmac_key(path)), our_key);
  }
  write(our_key + "\n\n", 0400);
  EXPECT_EQ(llvm::cantFail(read_hmac_key(path)), our_key + "\n");
  write(std::string(4096, 'k'));
  EXPECT_EQ(refusal(), "a key of 4096 bytes");
}

TEST_F(KeyFile, ThatOthersCanReadIsRefused) {
  for (const mode_t mode : {0640, 0604, 0660, 0610}) {
    write(our_key, mode);
    EXPECT_EQ(refusal(), fmt::format("'{}' is open to other users (mode {:o}), it should be open to its owner alone "
                                     "(chmod 600)",
                                     path, mode));
  }
}

TEST_F(KeyFile, ThatIsNoKeyIsRefused) {
  EXPECT_EQ(refusal(), fmt::format("key file '{}' is absent, it should be a file of 32 to 4096 bytes", path));
  write(our_key.substr(1));
  EXPECT_EQ(refusal(),
            fmt::format("key file '{}' is 31 bytes long, it should be 32 to 4096 (openssl rand -hex 32)", path));
  write(std::string(4097, 'k'));
  EXPECT_EQ(refusal(), fmt::format("'{}' is 4097 bytes long, it should be at most 4096", path));
  write(our_key);
  ASSERT_EQ(::rename(path.c_str(), (folder / "real").c_str()), 0);
  ASSERT_EQ(::symlink((folder / "real").c_str(), path.c_str()), 0);
  EXPECT_EQ(refusal(), fmt::format("'{}' is a link, it should be a regular file", path));
}

class Tagged : public ::testing::Test {
 protected:
  Options options(const std::string& key) {
    Options options = warnings.options(/*flush=*/false);
    options.hmac_key = key;
    return options;
  }
  bool found_with(const std::string& key) {
    return DiskCache(folder.path(), options(key)).find(made.key, "sm_90a") == made.entry;
  }

  test::TemporaryFolder folder;
  const Sample made = sample();
  const std::string path = folder / entry_name(made.key);
  Warnings warnings;
};

TEST_F(Tagged, AnEntryIsFoundWithItsKeyAndWithNone) {
  EXPECT_TRUE(DiskCache(folder.path(), options(our_key)).publish(made.key, made.entry));
  EXPECT_EQ(test::read_file(path), encode(made.entry) + tag_of(encode(made.entry), our_key));
  EXPECT_TRUE(found_with(our_key));
  EXPECT_TRUE(found_with("")) << "who has no key shares the folder all the same";
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Tagged, AnEntryOfAnotherKeyOrOfNoneIsSetAside) {
  for (const std::string& other : {std::string(), our_key.substr(1) + "0"}) {
    Warnings own;
    Options with_key = own.options(/*flush=*/false);
    with_key.hmac_key = our_key;
    EXPECT_TRUE(DiskCache(folder.path(), options(other)).publish(made.key, made.entry));
    DiskCache cache(folder.path(), with_key);
    EXPECT_FALSE(cache.find(made.key, "sm_90a"));
    EXPECT_EQ(cache.counters().corrupt_entries, 1u);
    ASSERT_EQ(own.lines().size(), 1u);
    EXPECT_TRUE(own.lines()[0].ends_with(fmt::format("cache entry: tag is {}, it should be made with the key in use",
                                                     other.empty() ? "absent" : "another key's or another entry's")))
        << own.lines()[0];
    EXPECT_TRUE(cache.publish(made.key, made.entry));
    EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry) << "made anew";
  }
}

TEST_F(Tagged, NoByteOfTheFileMayChange) {
  const std::string sound = file_with(our_key, made);
  const auto store = open_folder_store(folder.path(), our_key);
  const auto accepted = [&](const std::string& bytes) {
    llvm::Error error = store->check(bytes);
    if (!error) return true;
    EXPECT_EQ(take_failure(std::move(error)).status, MHCJIT_ERROR_BAD_FILE);
    return false;
  };
  ASSERT_TRUE(accepted(sound));
  // Every 97th byte of the body: each costs a hash of all of it.
  for (std::size_t at = 0; at < sound.size(); at += at + 64 < sound.size() ? 97 : 1) {
    std::string bytes = sound;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    EXPECT_FALSE(accepted(bytes)) << at;
  }
  for (std::size_t cut = 1; cut <= 64; ++cut) EXPECT_FALSE(accepted(sound.substr(0, sound.size() - cut))) << cut;
  EXPECT_FALSE(accepted(sound + tag_of(sound, our_key))) << "a tag of a tag";
  EXPECT_FALSE(accepted(""));
}

// The tag of one entry stands behind another: a forger who can copy files has no more than that.
TEST_F(Tagged, ATagCannotBeMoved) {
  const Sample other = sample(1, 2);
  const std::string bytes = encode(other.entry) + tag_of(encode(made.entry), our_key);
  test::write_file(path, bytes);
  EXPECT_EQ(take_failure(open_folder_store(folder.path(), our_key)->read(made.key.digest()).takeError()).text,
            "cache entry: tag is another key's or another entry's, it should be made with the key in use");
  const std::string foreign = file_with(our_key, sample(2));
  EXPECT_TRUE(llvm::StringRef(take_failure(read_entry_file(foreign, made.key, "sm_90a").takeError()).text)
                  .starts_with("cache entry: key text is another key's"));
}

// A cubin may end like a tag.
TEST_F(Tagged, AnEntryIsNeverTakenForATag) {
  for (const std::string& key : {std::string(), our_key}) {
    Sample odd = made;
    odd.entry.kernels[1].cubin = odd.entry.kernels[1].cubin.str() + tag_of("anything", our_key);
    const std::string bytes = encode(odd.entry);
    EXPECT_EQ(without_tag(bytes), bytes);
    EXPECT_EQ(without_tag(bytes + tag_of(bytes, our_key)), bytes);
    EXPECT_EQ(llvm::cantFail(read_entry_file(file_with(key, odd), odd.key, "sm_90a")), odd.entry);
  }
}

TEST_F(Tagged, AFolderThatAllMayWriteServesWithAKey) {
  ASSERT_EQ(::chmod(folder.path().c_str(), 0777), 0);
  FaultyFileOps ops;
  ops.folder_owner = ::geteuid() + 1;
  DiskCache cache(folder.path(), options(our_key), ops);
  EXPECT_TRUE(cache.publish(made.key, made.entry));
  EXPECT_EQ(cache.find(made.key, "sm_90a"), made.entry);
  EXPECT_EQ(warnings.lines(), std::vector<std::string>{});
}

TEST_F(Tagged, TheFolderCommandsReadIt) {
  EXPECT_TRUE(DiskCache(folder.path(), options(our_key)).publish(made.key, made.entry));
  auto stored = llvm::cantFail(read_stored_entry(*open_folder_store(folder.path(), ""), made.key.digest()));
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->entry, made.entry);
  EXPECT_EQ(stored->bytes.str(), test::read_file(path)) << "a bundle carries the tag";
}

}  // namespace
}  // namespace mhcjit::cache
