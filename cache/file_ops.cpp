#include "cache/file_ops.h"

#include <csignal>
#include <cstdio>

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "cache/without_signal.h"

namespace mhcjit::cache {
namespace {

class SystemFileOps final : public FileOps {
 public:
  int open(const char* path, int flags, mode_t mode) override { return ::open(path, flags, mode); }
  int stat(const char* path, struct stat* status) override { return ::stat(path, status); }
  int fstat(int fd, struct stat* status) override { return ::fstat(fd, status); }
  ssize_t read(int fd, void* buffer, std::size_t size) override { return ::read(fd, buffer, size); }
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    const WithoutSignal guard(SIGXFSZ);
    return ::write(fd, buffer, size);
  }
  int fsync(int fd) override { return ::fsync(fd); }
  int lock(int fd, struct flock* range) override { return ::fcntl(fd, F_OFD_SETLK, range); }
  int futimens(int fd, const struct timespec* times) override { return ::futimens(fd, times); }
  int close(int fd) override { return ::close(fd); }
  int rename(const char* from, const char* to) override { return ::rename(from, to); }
  int unlink(const char* path) override { return ::unlink(path); }
  int mkdir(const char* path, mode_t mode) override { return ::mkdir(path, mode); }
  ssize_t random(void* buffer, std::size_t size) override { return ::getrandom(buffer, size, 0); }
};

}  // namespace

FileOps& FileOps::system() {
  // Never destroyed: a thread may still use the cache while the process exits.
  static auto* const ops = new SystemFileOps;
  return *ops;
}

}  // namespace mhcjit::cache
