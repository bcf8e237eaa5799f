// What a user names to be written is whole or as it was, goes where a link leads, and stays as private as it was.
#include "tools/output_file.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

#include <gtest/gtest.h>

#include "support/error.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::tools {
namespace {

using test::read_file;
using test::TemporaryFolder;
using test::write_file;

Failure failure_of(llvm::Error error) { return error ? take_failure(std::move(error)) : Failure(); }

// The failure of making `path` a file that holds "new".
Failure write(const std::string& path) {
  llvm::Expected<OutputFile> file = OutputFile::create(path);
  if (!file) return take_failure(file.takeError());
  Failure failure = failure_of(file->write("new"));
  return failure.text.empty() ? failure_of(file->publish()) : failure;
}

struct stat status_of(const std::string& path) {
  struct stat status = {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status;
}

mode_t mode_of(const std::string& path) { return status_of(path).st_mode & 07777; }

TEST(OutputFile, KeepsTheModeOfWhatItReplaces) {
  const TemporaryFolder folder;
  for (const mode_t mode : {0600, 0640, 0666, 0755}) {
    write_file(folder / "file", "old");
    ASSERT_EQ(::chmod((folder / "file").c_str(), mode), 0);
    EXPECT_EQ(write(folder / "file").text, "");
    EXPECT_EQ(read_file(folder / "file"), "new");
    EXPECT_EQ(mode_of(folder / "file"), mode);
  }
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(OutputFile, IsPrivateWhileItIsWrittenWhereWhatItReplacesIs) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  ASSERT_EQ(::chmod((folder / "file").c_str(), 0600), 0);
  llvm::Expected<OutputFile> file = OutputFile::create(folder / "file");
  ASSERT_TRUE(static_cast<bool>(file));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    EXPECT_EQ(mode_of(entry.path()), 0600u) << entry.path();
}

TEST(OutputFile, KeepsTheOwnerOfWhatItReplaces) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  ASSERT_EQ(::chown((folder / "file").c_str(), 1234, 2345), 0);
  EXPECT_EQ(write(folder / "file").text, "");
  EXPECT_EQ(status_of(folder / "file").st_uid, 1234u);
  EXPECT_EQ(status_of(folder / "file").st_gid, 2345u);
}

TEST(OutputFile, TakesItsModeFromTheUmaskWhereThereWasNone) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(0027);
  EXPECT_EQ(write(folder / "file").text, "");
  ::umask(before);
  EXPECT_EQ(mode_of(folder / "file"), 0640u);
}

// Relative ones lead from where they lie, which is not the current folder.
TEST(OutputFile, GoesWhereALinkLeadsWhetherAFileIsThereOrNot) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "links");
  std::filesystem::create_directories(folder / "files");
  std::filesystem::create_symlink("../files/target", folder / "links/relative");
  std::filesystem::create_symlink(folder / "links/relative", folder / "links/absolute");
  for (const std::string link : {"links/relative", "links/absolute", "links/relative"}) {
    EXPECT_EQ(write(folder / link).text, "") << link;
    EXPECT_TRUE(std::filesystem::is_symlink(folder / link));
    EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(folder / "files/target")));
    EXPECT_EQ(read_file(folder / "files/target"), "new");
    if (link == "links/absolute") std::filesystem::remove(folder / "files/target");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "links"), {}), 2);
  }
}

TEST(OutputFile, LinksThatLeadNowhereAreRefused) {
  const TemporaryFolder folder;
  std::filesystem::create_symlink("loop", folder / "loop");
  std::filesystem::create_symlink("absent/file", folder / "absent_folder");
  for (const std::string name : {"loop", "absent_folder"}) {
    const Failure failure = write(folder / name);
    EXPECT_EQ(failure.status, MHCJIT_ERROR_IO) << name;
    EXPECT_NE(failure.text.find("cannot write '" + folder / name + "': "), std::string::npos) << failure.text;
    EXPECT_TRUE(std::filesystem::is_symlink(folder / name));
  }
}

TEST(OutputFile, HasAnyNameThatAFileCanHave) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "100%%%");
  for (const std::size_t length : {1, 236, 255}) {
    const std::string path = folder / "100%%%/" + std::string(length, 'a');
    EXPECT_EQ(write(path).text, "") << length;
    EXPECT_EQ(read_file(path), "new");
  }
  EXPECT_EQ(write(folder / std::string(256, 'a')).status, MHCJIT_ERROR_IO);
  EXPECT_EQ(folder.file_count(), 3);
}

TEST(OutputFile, WhatIsNotPublishedLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  {
    llvm::Expected<OutputFile> file = OutputFile::create(folder / "file");
    ASSERT_TRUE(static_cast<bool>(file));
    EXPECT_EQ(failure_of(file->write("new")).text, "");
    EXPECT_EQ(folder.file_count(), 2);
  }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.file_count(), 1);
}

TEST(OutputFile, ASignalLeavesTheOldFileAndNothingElse) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    llvm::Expected<OutputFile> file = OutputFile::create(folder / "file");
    std::raise(file && folder.file_count() == 2 ? SIGTERM : SIGKILL);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(folder.file_count(), 1);
}

}  // namespace
}  // namespace mhcjit::tools
