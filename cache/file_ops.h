// The system calls that the disk cache makes, as a table that a test can replace to make any of them fail.
#pragma once

#include <cstddef>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

namespace mhcjit::cache {

// Each member is the system call of its name (random() is getrandom(), lock() is fcntl(F_OFD_SETLK)): -1 and errno on
// failure, short reads and writes and EINTR allowed. A write beyond the limit of `ulimit -f` is EFBIG and no SIGXFSZ.
// Thread-safe.
class FileOps {
 public:
  virtual ~FileOps() = default;

  virtual int open(const char* path, int flags, mode_t mode) = 0;
  virtual int stat(const char* path, struct stat* status) = 0;
  virtual int fstat(int fd, struct stat* status) = 0;
  virtual ssize_t read(int fd, void* buffer, std::size_t size) = 0;
  virtual ssize_t write(int fd, const void* buffer, std::size_t size) = 0;
  virtual int fsync(int fd) = 0;
  virtual int lock(int fd, struct flock* range) = 0;
  virtual int futimens(int fd, const struct timespec* times) = 0;
  virtual int close(int fd) = 0;
  virtual int rename(const char* from, const char* to) = 0;
  virtual int unlink(const char* path) = 0;
  virtual int mkdir(const char* path, mode_t mode) = 0;
  virtual ssize_t random(void* buffer, std::size_t size) = 0;

  // The real calls. Lives as long as the process.
  static FileOps& system();
};

}  // namespace mhcjit::cache
