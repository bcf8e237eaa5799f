// A folder names every compiler that its entries come from, also when several add theirs at the same time; without that
// a machine that has no compiler finds nothing.
#include <sys/file.h>

#include "cache/compiler_record.h"
#include "tests/cache/child.h"
#include "tests/cache/sample.h"

namespace mhcjit::cache {
namespace {

std::string line(int number) { return fmt::format("nvrtc 13.{} 0a1b 2c3d", number); }

bool add(const std::string& root, const CompilerLines& lines) {
  llvm::Error error = add_compilers(root, lines);
  const bool added = !error;
  llvm::consumeError(std::move(error));
  return added;
}

TEST(CompilerRecord, KeepsWhatIsThereAndWritesNothingWhereNothingIsLacking) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "compiler_identity";
  EXPECT_EQ(read_compiler_record(folder.path()), CompilerLines{});
  EXPECT_TRUE(add(folder.path(), {line(0)}));
  EXPECT_TRUE(add(folder.path(), {line(1), line(0), line(2)}));
  EXPECT_EQ(test::read_file(path), line(0) + "\n" + line(1) + "\n" + line(2) + "\n");
  struct stat before = {}, after = {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  EXPECT_TRUE(add(folder.path(), {line(2), line(1)}));
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

// One of several that add at the same time would otherwise write what it read before the others' lines were there.
TEST(CompilerRecord, OfEightProcessesAtOnceNoneIsLost) {
  const test::TemporaryFolder folder;
  for (int round = 0; round < 20; ++round) {
    const std::string root = folder / fmt::format("{}", round);
    std::filesystem::create_directory(root);
    const std::string gate = root + "/gate";
    const int fd = ::open(gate.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_EQ(::flock(fd, LOCK_EX), 0);
    std::vector<pid_t> children;
    for (int number = 0; number < 8; ++number)
      children.push_back(start_child([&] {
        const int own = ::open(gate.c_str(), O_RDWR | O_CLOEXEC);
        return ::flock(own, LOCK_SH) == 0 && add(root, {line(number)}) ? 0 : 1;
      }));
    ASSERT_EQ(::flock(fd, LOCK_UN), 0);
    ::close(fd);
    for (const pid_t child : children) EXPECT_EQ(wait_for_child(child), 0);
    EXPECT_EQ(read_compiler_record(root).size(), 8u) << test::read_file(root + "/compiler_identity");
  }
}

TEST(CompilerRecord, TheFirstOfMoreThan32Goes) {
  const test::TemporaryFolder folder;
  for (int number = 0; number < 34; ++number) EXPECT_TRUE(add(folder.path(), {line(number)}));
  const CompilerLines record = read_compiler_record(folder.path());
  ASSERT_EQ(record.size(), 32u);
  EXPECT_EQ(record.front(), line(2));
  EXPECT_EQ(record.back(), line(33));
}

TEST(CompilerRecord, WhatIsNoRecordIsNoneAndIsReplaced) {
  const test::TemporaryFolder folder;
  const std::string path = folder / "compiler_identity";
  for (const std::string& text : {std::string(), std::string("\n"), line(0) + "\n\n", line(0) + "\n" + line(0),
                                  line(0) + "\nwith\ta tab\n", std::string(1025, 'a'), std::string(100'000, 'a')}) {
    test::write_file(path, text);
    EXPECT_EQ(read_compiler_record(folder.path()), CompilerLines{}) << text.substr(0, 100);
  }
  EXPECT_TRUE(add(folder.path(), {line(1)}));
  EXPECT_EQ(read_compiler_record(folder.path()), CompilerLines{line(1)});
  test::write_file(path, line(0));
  EXPECT_EQ(read_compiler_record(folder.path()), CompilerLines{line(0)}) << "the last newline may be lacking";
}

}  // namespace
}  // namespace mhcjit::cache
