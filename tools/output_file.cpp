#include "tools/output_file.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <llvm/Support/Signals.h>

#include "cache/replace_file.h"
#include "support/error.h"

namespace mhcjit::tools {
namespace {

namespace fs = std::filesystem;

llvm::Error cannot_write(const std::string& path, const std::string& reason) {
  return make_error(MHCJIT_ERROR_IO, "cannot write '{}': {}", path, reason);
}

// The file that `path` leads to, whether it is there or not: realpath() wants it to be.
llvm::Expected<std::string> follow_links(const std::string& path) {
  constexpr int max_links = 40;  // as the kernel's
  fs::path file = path;
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(file, error)); ++links) {
    if (links == max_links) return cannot_write(path, std::strerror(ELOOP));
    const fs::path target = fs::read_symlink(file, error);
    if (error) return cannot_write(path, error.message());
    file = file.parent_path() / target;
  }
  return file.native();
}

// The file that is to be replaced, or nothing.
llvm::Expected<std::optional<struct stat>> look_at(const std::string& path, const std::string& destination) {
  struct stat status = {};
  if (::stat(destination.c_str(), &status) != 0) {
    if (errno == ENOENT) return std::nullopt;
    return cannot_write(path, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) return cannot_write(path, "it is not a regular file");
  return status;
}

// The owner comes first, since a change of it clears bits of the mode. A user who may not give a file away may give it
// to a group.
bool take_owner_and_mode(int fd, const struct stat& replaced) {
  constexpr auto same_user = static_cast<uid_t>(-1);
  [[maybe_unused]] const bool is_owner_taken =
      ::fchown(fd, replaced.st_uid, replaced.st_gid) == 0 || ::fchown(fd, same_user, replaced.st_gid) == 0;
  return ::fchmod(fd, replaced.st_mode & 07777) == 0;
}

}  // namespace

llvm::Expected<OutputFile> OutputFile::create(const std::string& path) {
  auto destination = follow_links(path);
  if (!destination) return destination.takeError();
  auto replaced = look_at(path, *destination);
  if (!replaced) return replaced.takeError();

  OutputFile file(path, *destination);
  // Not the file's name with a suffix: that may be longer than the file system allows.
  const std::string folder = fs::path(*destination).parent_path();
  auto temporary = cache::random_path(cache::FileOps::system(), folder.empty() ? "." : folder, ".mhcjit", ".tmp");
  if (!temporary) return temporary.takeError();
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  file.fd_ = ::open(temporary->c_str(), flags, *replaced ? 0600 : 0666);
  if (file.fd_ < 0) return file.failed(errno);
  file.temporary_ = *temporary;
  llvm::sys::RemoveFileOnSignal(*temporary);
  if (*replaced && !take_owner_and_mode(file.fd_, **replaced)) return file.failed(errno);
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      destination_(std::move(other.destination_)),
      temporary_(std::exchange(other.temporary_, "")),
      fd_(std::exchange(other.fd_, -1)) {}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  llvm::sys::DontRemoveFileOnSignal(temporary_);
}

llvm::Error OutputFile::write(llvm::StringRef bytes) {
  return cache::write_all(cache::FileOps::system(), fd_, path_, bytes);
}

llvm::Error OutputFile::publish() {
  // EINVAL: a file system whose files need no flush.
  if (::fsync(fd_) != 0 && errno != EINVAL) return failed(errno);
  // A full or failing network file system may say so only here.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) return failed(errno);
  if (::rename(temporary_.c_str(), destination_.c_str()) != 0) return failed(errno);
  llvm::sys::DontRemoveFileOnSignal(std::exchange(temporary_, ""));
  return llvm::Error::success();
}

llvm::Error OutputFile::failed(int reason) const { return cannot_write(path_, std::strerror(reason)); }

}  // namespace mhcjit::tools
