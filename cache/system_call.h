// Helpers for files of this folder that make system calls. Internal to the folder.
#pragma once

#include <cerrno>
#include <string_view>
#include <utility>

#include <llvm/Support/Errno.h>

#include "cache/file_ops.h"
#include "support/error.h"

namespace mhcjit::cache {

// The call's result, made again for as long as a signal interrupts it.
template <typename Call>
auto retry(Call&& call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

inline llvm::Error call_failed(std::string_view call, std::string_view path, int error) {
  return make_error(MHCJIT_ERROR_IO, "{} of '{}' failed: {}", call, path, llvm::sys::StrError(error));
}

// A descriptor, or -1, closed at the end of its scope.
class Descriptor {
 public:
  Descriptor(FileOps& ops, int fd) : ops_(ops), fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { close(); }

  int get() const { return fd_; }

  // False and errno when the system reports a late write error. EINTR is a success: Linux has closed by then, and a
  // retry could close another thread's descriptor.
  bool close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || ops_.close(fd) == 0 || errno == EINTR;
  }

 private:
  FileOps& ops_;
  int fd_;
};

}  // namespace mhcjit::cache
