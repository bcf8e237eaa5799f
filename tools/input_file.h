// A file that the user names to be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include <llvm/Support/Error.h>

namespace mhcjit::tools {

// Only a regular file is opened: a FIFO would be waited for, and a device may have no end. A link is followed. Errors
// of every member: IO, with the path.
class InputFile {
 public:
  static llvm::Expected<InputFile> open(const std::string& path);

  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;
  ~InputFile();

  const std::string& path() const { return path_; }
  std::uint64_t bytes() const { return bytes_; }  // when it was opened

  // The file may have shrunk since it was opened: that is BAD_FILE.
  llvm::Error read_at(std::uint64_t offset, std::byte* to, std::uint64_t bytes) const;

  // Its content when it was opened. BAD_FILE, before anything is read, if that is more than `most` bytes.
  llvm::Expected<std::string> read_all(std::uint64_t most) const;

 private:
  InputFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  std::uint64_t bytes_ = 0;
};

}  // namespace mhcjit::tools
