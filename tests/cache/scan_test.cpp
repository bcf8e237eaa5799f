// What lies in a folder is told by name, and an entry is judged by its name alone: a renamed, damaged or forged entry
// is never taken for sound.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include "cache/folder_store.h"
#include "cache/key_text.h"
#include "cache/store_scan.h"
#include "cache/stored_entry.h"
#include "support/error.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

StoreScan scan(const std::string& root) {
  llvm::Expected<StoreScan> found = scan_store(root);
  if (found) return std::move(*found);
  ADD_FAILURE() << llvm::toString(found.takeError());
  return {};
}

std::string failure_of(llvm::Expected<StoredEntry> entry) {
  if (!entry) return take_failure(entry.takeError()).text;
  return "accepted";
}

TEST(Scan, AbsentFolderHoldsNothing) {
  const test::TemporaryFolder folder;
  const StoreScan found = scan(folder / "absent");
  EXPECT_TRUE(found.entries.empty());
  EXPECT_TRUE(found.leftovers.empty());
}

TEST(Scan, TellsEntriesLeftoversAndTheRestApart) {
  const test::TemporaryFolder folder;
  const std::string digest(64, 'a'), other(64, 'b'), random = ".0123456789abcdef";
  const std::vector<std::string> entries = {digest + ".mhcjit", other + ".mhcjit"};
  const std::vector<std::string> leftovers = {digest + random + ".bad", digest + random + ".tmp",
                                              digest + ".pre_forward_2.cu", "compiler_identity" + random + ".tmp"};
  for (const std::string& name : {leftovers[1], entries[1], leftovers[3], leftovers[2], entries[0], leftovers[0]}) {
    test::write_file(folder / name, "bytes");
  }
  for (const std::string& name :
       {std::string("compiler_identity"), std::string("README"), digest, digest + ".mhcjit.tmp",
        "A" + digest.substr(1) + ".mhcjit", digest.substr(1) + ".mhcjit", digest + ".0123.tmp",
        std::string("x.0123456789abcdeg.tmp"), random + ".tmp", digest + ".cu", digest + "..cu",
        digest.substr(1) + ".kernel.cu", digest + ".a.b.cu"}) {
    test::write_file(folder / name, "bytes");
  }
  const StoreScan found = scan(folder.path());
  std::vector<std::string> names;
  for (const StoredFile& file : found.entries) {
    names.push_back(file.name);
    EXPECT_EQ(file.bytes, 5u);
    EXPECT_GT(file.modified_unix_seconds(), 1'500'000'000);
  }
  EXPECT_EQ(names, entries);
  names.clear();
  for (const StoredFile& file : found.leftovers) names.push_back(file.name);
  EXPECT_EQ(names, leftovers);
}

TEST(Scan, SizeOnDiskIsCountedInBlocks) {
  const test::TemporaryFolder folder;
  const std::string path = folder / (std::string(64, 'c') + ".mhcjit");
  test::write_file(path, "x");
  std::filesystem::resize_file(path, 1 << 20);  // a hole takes no block
  struct stat status = {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  const StoreScan found = scan(folder.path());
  ASSERT_EQ(found.entries.size(), 1u);
  EXPECT_EQ(found.entries[0].bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(found.entry_disk_bytes(), static_cast<std::uint64_t>(status.st_blocks) * 512);
}

TEST(Scan, FolderThatOthersMayWriteIsRefused) {
  const test::TemporaryFolder folder;
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  llvm::Expected<StoreScan> found = scan_store(folder.path());
  ASSERT_FALSE(static_cast<bool>(found));
  EXPECT_NE(take_failure(found.takeError()).text.find("writable by other users"), std::string::npos);
}

TEST(StoredEntry, RoundTrip) {
  const test::TemporaryFolder folder;
  const Sample one = sample(1);
  ASSERT_TRUE(DiskCache(folder.path()).publish(one.key, one.entry));
  llvm::Expected<std::optional<StoredEntry>> read =
      read_stored_entry(*open_folder_store(folder.path(), ""), one.key.digest());
  ASSERT_TRUE(static_cast<bool>(read)) << llvm::toString(read.takeError());
  ASSERT_TRUE(read->has_value());
  EXPECT_EQ((*read)->entry, one.entry);
  EXPECT_EQ((*read)->bytes.str(), test::read_file(folder / entry_name(one.key)));
  EXPECT_EQ(find_field((*read)->fields, "schema"), "3");
  EXPECT_EQ(find_field((*read)->fields, "architecture"), "sm_90a");

  read = read_stored_entry(*open_folder_store(folder.path(), ""), std::string(64, '0'));
  ASSERT_TRUE(static_cast<bool>(read)) << llvm::toString(read.takeError());
  EXPECT_FALSE(read->has_value());
}

TEST(StoredEntry, AnotherDigestsNameIsRefused) {
  const std::string bytes = encode(sample(1).entry);
  EXPECT_NE(failure_of(check_stored_entry(bytes, sample(2).key.digest())).find("digest of the key text is"),
            std::string::npos);
}

TEST(StoredEntry, ArchitectureThatIsNotTheKeysIsRefused) {
  Sample forged = sample(1);
  const Sample other = sample(1, 1, "sm_80");
  forged.entry.architecture = "sm_80";
  forged.entry.kernels = other.entry.kernels;
  EXPECT_NE(failure_of(check_stored_entry(encode(forged.entry), forged.key.digest())).find("the key's 'sm_90a'"),
            std::string::npos);
}

TEST(StoredEntry, EveryFlippedByteAndEveryTruncationIsRefused) {
  const Sample one = sample(1);
  const std::string digest = one.key.digest(), whole = encode(one.entry);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x20);
    ASSERT_NE(failure_of(check_stored_entry(bytes, digest)), "accepted") << at;
    ASSERT_NE(failure_of(check_stored_entry(whole.substr(0, at), digest)), "accepted") << at;
  }
}

TEST(StoredEntry, LinksFoldersAndForeignFilesAreRefused) {
  const test::TemporaryFolder folder;
  const Sample one = sample(1);
  const std::string path = folder / entry_name(one.key);
  test::write_file(folder / "target", encode(one.entry));
  std::filesystem::create_symlink("target", path);
  for (int round = 0; round < 2; ++round) {
    llvm::Expected<std::optional<StoredEntry>> read =
        read_stored_entry(*open_folder_store(folder.path(), ""), one.key.digest());
    ASSERT_FALSE(static_cast<bool>(read));
    EXPECT_EQ(take_failure(read.takeError()).status, MHCJIT_ERROR_BAD_FILE);
    std::filesystem::remove(path);
    std::filesystem::create_directory(path);
  }
}

TEST(KeyText, IsReadBackWhateverTheValuesHold) {
  std::mt19937_64 random(7);
  CacheKey key;
  std::vector<KeyField> added = {{"schema", "3"}};
  for (int field = 0; field < 20; ++field) {
    added.push_back({random_bytes(random, random() % 9), random_bytes(random, random() % 300)});
    key.add(added.back().name, added.back().value);
  }
  key.add("lines", "a=b\n3,1 c=d\n");
  added.push_back({"lines", "a=b\n3,1 c=d\n"});
  llvm::Expected<std::vector<KeyField>> fields = parse_key_text(key.text());
  ASSERT_TRUE(static_cast<bool>(fields)) << llvm::toString(fields.takeError());
  ASSERT_EQ(fields->size(), added.size());
  for (std::size_t at = 0; at < added.size(); ++at) {
    EXPECT_EQ((*fields)[at].name, added[at].name);
    EXPECT_EQ((*fields)[at].value, added[at].value);
  }
}

TEST(KeyText, ForgedLengthsAreRefused) {
  for (const std::string text : {"x", "6,1", "6,1 schema=", "6,1 schema=2", "6,2 schema=2\n", "7,1 schema=2\n",
                                 "6,18446744073709551615 schema=2\n", "18446744073709551615,2 schema=2\n",
                                 "18446744073709551616,1 a=b\n", "-1,1 a=b\n", "1,1 ab\n", "6,1 schema=2\nrest"}) {
    llvm::Expected<std::vector<KeyField>> fields = parse_key_text(text);
    ASSERT_FALSE(static_cast<bool>(fields)) << text;
    EXPECT_EQ(take_failure(fields.takeError()).status, MHCJIT_ERROR_BAD_FILE);
  }
}

}  // namespace
}  // namespace mhcjit::cache
