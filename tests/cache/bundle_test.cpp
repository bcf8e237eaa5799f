// A bundle carries entries from one folder to another, as the same bytes and however often; one that was cut, damaged
// or made by an enemy is refused by name, before it changes anything.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "cache/bundle.h"
#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "cache/system_call.h"
#include "support/error.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

const CompilerLines compilers = {"nvrtc 13.0 0a1b2c 3d4e5f", "nvrtc 12.9 6a7b8c 9d0e1f"};

StoredEntry stored(const Sample& one) {
  llvm::Expected<StoredEntry> entry = check_stored_entry(encode(one.entry), one.key.digest());
  if (entry) return std::move(*entry);
  ADD_FAILURE() << llvm::toString(entry.takeError());
  return {};
}

std::string member(const std::string& name, const std::string& bytes) {
  return tar_header(name, bytes.size(), 0) + bytes + tar_padding(bytes.size());
}

std::string member_of(const Sample& one) { return member(entry_name(one.key), encode(one.entry)); }

// The header with other bytes at `offset`, and a checksum that agrees.
std::string forged(std::string header, std::size_t offset, const std::string& bytes) {
  header.replace(offset, bytes.size(), bytes);
  std::fill_n(header.begin() + 148, 8, ' ');
  unsigned sum = 0;
  for (const char byte : header.substr(0, tar_block_bytes)) sum += static_cast<unsigned char>(byte);
  header.replace(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return header;
}

Failure failure_of(llvm::Error error) { return error ? take_failure(std::move(error)) : Failure(); }

class Bundle : public testing::Test {
 protected:
  std::string make(const std::string& name, const std::vector<Sample>& samples) {
    const std::string path = folder_ / name;
    const Failure failure = write(path, [&](BundleWriter& writer) {
      writer.add_compilers(compilers);
      for (const Sample& one : samples) writer.add(one.key.digest(), stored(one));
      return llvm::Error::success();
    });
    EXPECT_EQ(failure.text, "");
    return path;
  }

  static Failure write(const std::string& path, llvm::function_ref<llvm::Error(BundleWriter&)> fill) {
    const Descriptor file(FileOps::system(), ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    return failure_of(write_bundle(file.get(), path, fill));
  }

  ImportReport import(const std::string& path, bool dry_run = false) {
    llvm::Expected<ImportReport> report = import_bundle(path, root(), *open_folder_store(root(), ""), dry_run);
    if (report) return std::move(*report);
    ADD_FAILURE() << llvm::toString(report.takeError());
    return {};
  }

  // The failure of importing these bytes, which must leave no trace.
  Failure refusal_of(const std::string& bytes) {
    const std::string path = folder_ / "refused.tar";
    test::write_file(path, bytes);
    llvm::Expected<ImportReport> report = import_bundle(path, root(), *open_folder_store(root(), ""), false);
    EXPECT_FALSE(std::filesystem::exists(root())) << "a refused bundle made the folder";
    if (report) return {};
    const Failure failure = take_failure(report.takeError());
    EXPECT_NE(failure.text.find(path), std::string::npos) << failure.text;
    return failure;
  }

  std::string root() const { return folder_ / "not/there/yet"; }
  std::string bytes_of(const Sample& one) const { return test::read_file(root() + "/" + entry_name(one.key)); }

  const test::TemporaryFolder folder_;
  const std::vector<Sample> all_ = {sample(1), sample(2, 1, "sm_80"), sample(3)};
};

TEST_F(Bundle, CarriesEntriesAndTheCompiler) {
  const std::string path = make("a.tar", all_);
  const ImportReport report = import(path);
  EXPECT_EQ(report.imported.size(), 3u);
  EXPECT_EQ(report.already_there, 0u);
  EXPECT_EQ(report.compilers, compilers);
  EXPECT_EQ(read_compiler_record(root()), compilers);
  EXPECT_EQ(names_ending(root(), "").size(), 5u) << "the entries, the record and its lock";
  struct stat status = {};
  ASSERT_EQ(::stat(root().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  DiskCache cache(root());
  for (const Sample& one : all_) {
    EXPECT_EQ(bytes_of(one), encode(one.entry));
    EXPECT_EQ(cache.find(one.key, one.entry.architecture), one.entry);
  }
}

TEST_F(Bundle, TheSameContentGivesTheSameBytes) {
  EXPECT_EQ(test::read_file(make("a.tar", all_)), test::read_file(make("b.tar", all_)));
}

TEST_F(Bundle, SecondImportChangesNothing) {
  const std::string path = make("a.tar", all_);
  import(path);
  struct stat before = {}, after = {};
  const std::string entry = root() + "/" + entry_name(all_[0].key);
  ASSERT_EQ(::stat(entry.c_str(), &before), 0);
  const ImportReport report = import(path);
  EXPECT_TRUE(report.imported.empty());
  EXPECT_EQ(report.already_there, 3u);
  ASSERT_EQ(::stat(entry.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(names_ending(root(), "").size(), 5u) << "the entries, the record and its lock";
}

TEST_F(Bundle, SeveralMergeAndDamageIsRepaired) {
  import(make("a.tar", {all_[0], all_[1]}));
  test::write_file(root() + "/" + entry_name(all_[1].key), "damaged");
  const ImportReport report = import(make("b.tar", {all_[1], all_[2]}));
  EXPECT_EQ(report.imported, (std::vector{all_[1].key.digest(), all_[2].key.digest()}));
  for (const Sample& one : all_) EXPECT_EQ(bytes_of(one), encode(one.entry));
}

TEST_F(Bundle, DryRunMakesNoFolder) {
  const ImportReport report = import(make("a.tar", all_), /*dry_run=*/true);
  EXPECT_EQ(report.imported.size(), 3u);
  EXPECT_FALSE(std::filesystem::exists(root()));
}

TEST_F(Bundle, FourProcessesImportAtOnce) {
  const std::string path = make("a.tar", all_);
  expect_children_succeed(4, [&](int) {
    llvm::Expected<ImportReport> report = import_bundle(path, root(), *open_folder_store(root(), ""), false);
    if (report) return 0;
    llvm::consumeError(report.takeError());
    return 1;
  });
  for (const Sample& one : all_) EXPECT_EQ(bytes_of(one), encode(one.entry));
  EXPECT_EQ(names_ending(root(), "").size(), 5u) << "the entries, the record and its lock";
}

TEST_F(Bundle, EveryTruncationIsRefused) {
  const std::string whole = test::read_file(make("a.tar", {all_[0]}));
  const auto check = [](const std::string& bytes) {
    std::size_t at = 0;
    return failure_of(read_bundle(
        [&](char* buffer, std::size_t size) -> llvm::Expected<std::size_t> {
          const std::size_t got = bytes.copy(buffer, size, at);
          at += got;
          return got;
        },
        {}));
  };
  EXPECT_EQ(check(whole).status, MHCJIT_SUCCESS);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Failure failure = check(whole.substr(0, length));
    ASSERT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE) << length;
    ASSERT_NE(failure.text.find("the end of the file"), std::string::npos) << failure.text;
  }
  EXPECT_EQ(check(whole + std::string(10 * tar_block_bytes, '\0')).status, MHCJIT_SUCCESS) << "tar pads its records";
  EXPECT_NE(refusal_of(whole.substr(0, whole.size() - tar_block_bytes)).text.find("a block of zeros"),
            std::string::npos);
}

TEST_F(Bundle, EveryFlippedByteIsRefused) {
  const std::string whole = member_of(all_[0]) + tar_end();
  const std::size_t entry = tar_block_bytes, entry_end = entry + encode(all_[0].entry).size();
  ASSERT_LT(entry_end, member_of(all_[0]).size()) << "there is no padding";
  // Fewer of an entry, whose own tests flip each.
  for (std::size_t at = 0; at < whole.size(); at += at >= entry && at + 97 < entry_end ? 97 : 1) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    EXPECT_NE(refusal_of(bytes).status, MHCJIT_SUCCESS) << at;
    std::filesystem::remove_all(folder_ / "not");
  }
}

struct Hostile {
  const char* name;
  std::function<std::string(const Sample&)> bytes;
  const char* text;  // part of the error
};

class HostileBundle : public Bundle, public testing::WithParamInterface<Hostile> {};

TEST_P(HostileBundle, IsRefusedByName) {
  // A sound member before the bad one: it must not be imported either.
  const Failure failure = refusal_of(member_of(all_[1]) + GetParam().bytes(all_[0]) + tar_end());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  EXPECT_NE(failure.text.find(GetParam().text), std::string::npos) << failure.text;
}

std::string renamed(const Sample& one, const std::string& name) { return member(name, encode(one.entry)); }

std::string of_type(const Sample& one, char type) { return forged(member_of(one), 156, std::string(1, type)); }

INSTANTIATE_TEST_SUITE_P(
    Bundle, HostileBundle,
    testing::Values(
        Hostile{"parent", [](const Sample& one) { return renamed(one, "../" + entry_name(one.key)); }, "member '../"},
        Hostile{"absolute", [](const Sample&) { return member("/etc/mhcjit", "x"); },
                "member '/etc/mhcjit' is no entry"},
        Hostile{"folder_of_name", [](const Sample& one) { return renamed(one, "a/" + entry_name(one.key)); },
                "member 'a/"},
        Hostile{"prefix", [](const Sample& one) { return forged(member_of(one), 345, "../.."); }, "a plain name"},
        Hostile{"unprintable", [](const Sample&) { return member("a\n\x1b[2J", "x"); }, "member 'a??[2J'"},
        Hostile{"empty_name", [](const Sample&) { return member("", "x"); }, "member '' is no entry"},
        Hostile{"hard_link", [](const Sample& one) { return of_type(one, '1'); }, "is a hard link"},
        Hostile{"symbolic_link", [](const Sample& one) { return of_type(one, '2'); }, "is a symbolic link"},
        Hostile{"device", [](const Sample& one) { return of_type(one, '3'); }, "is a device"},
        Hostile{"folder", [](const Sample& one) { return of_type(one, '5'); }, "is a folder"},
        Hostile{"fifo", [](const Sample& one) { return of_type(one, '6'); }, "is a FIFO"},
        Hostile{"pax_header", [](const Sample& one) { return of_type(one, 'x'); }, "is an extended header"},
        Hostile{"long_name", [](const Sample& one) { return of_type(one, 'L'); }, "is an extended header"},
        Hostile{"link_target", [](const Sample& one) { return forged(member_of(one), 157, "/etc/passwd"); },
                "a plain name"},
        Hostile{"twice", [](const Sample& one) { return member_of(one) + member_of(one); }, "twice"},
        Hostile{"huge", [](const Sample& one) { return forged(member_of(one), 124, "77777777777"); },
                "a member of 8589934591 bytes, it should be at most 67108912"},
        Hostile{"huge_binary_size",
                [](const Sample& one) { return forged(member_of(one), 124, "\x80" + std::string(11, '\x7f')); },
                "a size that is no octal number"},
        Hostile{"negative_size", [](const Sample& one) { return forged(member_of(one), 124, "-0000000001"); },
                "a size that is no octal number"},
        Hostile{"longer_than_the_file", [](const Sample& one) { return forged(member_of(one), 124, "00077777777"); },
                "the end of the file"},
        Hostile{"wrong_checksum",
                [](const Sample& one) {
                  std::string bytes = member_of(one);
                  bytes[100] = '1';
                  return bytes;
                },
                "a header whose checksum is wrong"},
        Hostile{"gnu_magic", [](const Sample& one) { return forged(member_of(one), 257, std::string("ustar  \0", 8)); },
                "tar --format=ustar"},
        Hostile{"another_keys_entry", [](const Sample& one) { return renamed(one, entry_name(sample(9).key)); },
                "digest of the key text is"},
        Hostile{"damaged_entry",
                [](const Sample& one) {
                  std::string bytes = encode(one.entry);
                  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 4);
                  return member(entry_name(one.key), bytes);
                },
                "checksum is"},
        Hostile{"foreign_cubin",
                [](const Sample& one) {
                  Entry entry = one.entry;
                  entry.kernels = sample(2, 1, "sm_80").entry.kernels;
                  return member(entry_name(one.key), encode(entry));
                },
                "is bad: cubin"},
        Hostile{"compiler_named_twice", [](const Sample&) { return member("compiler_identity", "a\nb\na\n"); },
                "1 to 32 different printable lines"},
        Hostile{"compiler_too_long", [](const Sample&) { return member("compiler_identity", std::string(2000, 'a')); },
                "1 to 32 different printable lines"},
        Hostile{"something_behind", [](const Sample& one) { return tar_end() + member_of(one); },
                "something after the archive's end"}),
    [](const auto& info) { return std::string(info.param.name); });

// Bundles for those who have a key.
class TaggedBundle : public Bundle {
 protected:
  static std::string tagged(const Sample& one, const std::string& key) { return file_with(key, one); }

  llvm::Expected<ImportReport> import_with_key(const std::string& members) {
    const std::string path = folder_ / "tagged.tar";
    test::write_file(path, members + tar_end());
    return import_bundle(path, root(), *open_folder_store(root(), key_), /*dry_run=*/false);
  }

  const std::string key_ = "0123456789abcdef0123456789abcdef";
  const std::string sound_ = member(entry_name(all_[0].key), tagged(all_[0], key_));
};

TEST_F(TaggedBundle, WithTheKeysTagsIsImportedWithThem) {
  llvm::Expected<ImportReport> report = import_with_key(sound_);
  ASSERT_TRUE(static_cast<bool>(report)) << llvm::toString(report.takeError());
  EXPECT_EQ(report->imported, std::vector{all_[0].key.digest()});
  EXPECT_EQ(bytes_of(all_[0]), tagged(all_[0], key_));
}

TEST_F(TaggedBundle, WithOneEntryOfAnotherKeyOrOfNoneChangesNothing) {
  const std::string name = entry_name(all_[1].key), other_key = key_.substr(1) + "0";
  const std::map<std::string, std::string> wrong = {
      {"tag is absent", encode(all_[1].entry)},
      {"tag is another key's or another entry's", tagged(all_[1], other_key)},
      {"tag is another key's", encode(all_[1].entry) + tag_of(encode(all_[0].entry), key_)}};
  for (const auto& [text, bytes] : wrong) {
    llvm::Expected<ImportReport> report = import_with_key(sound_ + member(name, bytes));
    ASSERT_FALSE(static_cast<bool>(report)) << text;
    const Failure failure = take_failure(report.takeError());
    EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
    EXPECT_NE(failure.text.find(fmt::format("member '{}' is bad: cache entry: {}", name, text)), std::string::npos)
        << failure.text;
    EXPECT_FALSE(std::filesystem::exists(root()));
  }
}

TEST_F(TaggedBundle, ReplacesAnEntryWithoutItsTag) {
  import(make("a.tar", {all_[0]}));
  llvm::Expected<ImportReport> report = import_with_key(sound_);
  ASSERT_TRUE(static_cast<bool>(report)) << llvm::toString(report.takeError());
  EXPECT_EQ(report->already_there, 0u);
  EXPECT_EQ(bytes_of(all_[0]), tagged(all_[0], key_));
  report = import_with_key(sound_);
  ASSERT_TRUE(static_cast<bool>(report)) << llvm::toString(report.takeError());
  EXPECT_EQ(report->already_there, 1u);
}

TEST_F(Bundle, WhatIsNoRegularFileIsRefusedWithoutWaiting) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder_ / "fifo", folder_.path(), folder_ / "absent"}) {
    llvm::Expected<ImportReport> report = import_bundle(path, root(), *open_folder_store(root(), ""), false);
    ASSERT_FALSE(static_cast<bool>(report)) << path;
    EXPECT_NE(take_failure(report.takeError()).text.find(path), std::string::npos);
  }
}

TEST_F(Bundle, AFailureOfWhoFillsItIsTheWritersToo) {
  const Failure failure = write(folder_ / "a.tar", [&](BundleWriter& writer) -> llvm::Error {
    writer.add(all_[0].key.digest(), stored(all_[0]));
    return make_error(MHCJIT_ERROR_IO, "stopped");
  });
  EXPECT_EQ(failure.text, "stopped");
  const Failure full = failure_of(write_bundle(-1, "full.tar", [&](BundleWriter& writer) -> llvm::Error {
    writer.add(all_[0].key.digest(), stored(all_[0]));
    return llvm::Error::success();
  }));
  EXPECT_EQ(full.status, MHCJIT_ERROR_IO);
  EXPECT_NE(full.text.find("write of 'full.tar' failed"), std::string::npos) << full.text;
}

TEST_F(Bundle, FolderThatOthersMayWriteIsRefused) {
  const std::string path = make("a.tar", all_);
  std::filesystem::create_directories(root());
  std::filesystem::permissions(root(), std::filesystem::perms::all);
  llvm::Expected<ImportReport> report = import_bundle(path, root(), *open_folder_store(root(), ""), false);
  ASSERT_FALSE(static_cast<bool>(report));
  EXPECT_NE(take_failure(report.takeError()).text.find("writable by other users"), std::string::npos);
  EXPECT_EQ(names_ending(root(), "").size(), 0u);
}

}  // namespace
}  // namespace mhcjit::cache
