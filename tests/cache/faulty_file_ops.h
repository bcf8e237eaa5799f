// The real system calls with a fault in front of each: an errno, a short transfer, another owner, or the process's end.
#pragma once

#include <cerrno>
#include <functional>
#include <optional>
#include <string_view>

#include "cache/file_ops.h"

namespace mhcjit::cache {

class FaultyFileOps final : public FileOps {
 public:
  // Called before each call with its name; what it returns other than 0 becomes errno and the call fails unmade.
  // A close is made all the same, as Linux does.
  std::function<int(std::string_view call)> before = [](std::string_view) { return 0; };
  std::size_t max_transfer = SIZE_MAX;
  std::optional<uid_t> folder_owner;  // as stat() reports
  std::optional<uid_t> file_owner;    // as fstat() reports

  int open(const char* path, int flags, mode_t mode) override {
    return call("open", [&] { return real_.open(path, flags, mode); });
  }
  int stat(const char* path, struct stat* status) override {
    const int result = call("stat", [&] { return real_.stat(path, status); });
    if (result == 0 && folder_owner) status->st_uid = *folder_owner;
    return result;
  }
  int fstat(int fd, struct stat* status) override {
    const int result = call("fstat", [&] { return real_.fstat(fd, status); });
    if (result == 0 && file_owner) status->st_uid = *file_owner;
    return result;
  }
  ssize_t read(int fd, void* buffer, std::size_t size) override {
    return call("read", [&] { return real_.read(fd, buffer, std::min(size, max_transfer)); });
  }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    return call("write", [&] { return real_.write(fd, buffer, std::min(size, max_transfer)); });
  }
  int fsync(int fd) override {
    return call("fsync", [&] { return real_.fsync(fd); });
  }
  int lock(int fd, struct flock* range) override {
    return call("lock", [&] { return real_.lock(fd, range); });
  }
  int futimens(int fd, const struct timespec* times) override {
    return call("futimens", [&] { return real_.futimens(fd, times); });
  }
  int close(int fd) override {
    const int error = before("close");
    const int result = real_.close(fd);
    if (error == 0) return result;
    errno = error;
    return -1;
  }
  int rename(const char* from, const char* to) override {
    return call("rename", [&] { return real_.rename(from, to); });
  }
  int unlink(const char* path) override {
    return call("unlink", [&] { return real_.unlink(path); });
  }
  int mkdir(const char* path, mode_t mode) override {
    return call("mkdir", [&] { return real_.mkdir(path, mode); });
  }
  ssize_t random(void* buffer, std::size_t size) override {
    return call("random", [&] { return real_.random(buffer, size); });
  }

 private:
  template <typename Real>
  auto call(std::string_view name, Real&& real) -> decltype(real()) {
    if (const int error = before(name)) {
      errno = error;
      return -1;
    }
    return real();
  }

  FileOps& real_ = FileOps::system();
};

}  // namespace mhcjit::cache
