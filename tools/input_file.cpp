#include "tools/input_file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/error.h"

namespace mhcjit::tools {

llvm::Expected<InputFile> InputFile::open(const std::string& path) {
  // O_NONBLOCK: not to wait for the writer of a FIFO before it is refused.
  InputFile file(path, ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status = {};
  if (file.fd_ < 0 || ::fstat(file.fd_, &status) != 0)
    return make_error(MHCJIT_ERROR_IO, "cannot open '{}': {}", path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) return make_error(MHCJIT_ERROR_IO, "cannot read '{}': it is not a regular file", path);
  file.bytes_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), bytes_(other.bytes_) {}

InputFile::~InputFile() {
  if (fd_ >= 0) ::close(fd_);
}

llvm::Error InputFile::read_at(std::uint64_t offset, std::byte* to, std::uint64_t bytes) const {
  while (bytes > 0) {
    const ssize_t got = ::pread(fd_, to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_error(MHCJIT_ERROR_IO, "cannot read '{}': {}", path_, std::strerror(errno));
    if (got == 0)
      return make_error(MHCJIT_ERROR_BAD_FILE, "{}: became shorter while it was read, it ends at byte {}", path_,
                        offset);
    to += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
  return llvm::Error::success();
}

llvm::Expected<std::string> InputFile::read_all(std::uint64_t most) const {
  if (bytes_ > most)
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: is {} bytes long, allowed: at most {}", path_, bytes_, most);
  std::string text(bytes_, '\0');
  if (auto error = read_at(0, reinterpret_cast<std::byte*>(text.data()), bytes_)) return error;
  return text;
}

}  // namespace mhcjit::tools
