// A file that the user names to be written: whole, or as it was.
#pragma once

#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::tools {

// Bytes go to a temporary file in the folder of the file, which publish() renames over it. A link is followed, also to
// a file that is not there yet. The file that is replaced leaves its mode, and its owner where this user may give files
// away, to the new one; without one the umask says the mode. Anything but a regular file in its place is refused.
// Errors of every member: IO, with the path.
class OutputFile {
 public:
  static llvm::Expected<OutputFile> create(const std::string& path);

  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  // Removes the temporary file of what is not published. A signal that ends the process does too.
  ~OutputFile();

  const std::string& path() const { return path_; }
  int fd() const { return fd_; }

  llvm::Error write(llvm::StringRef bytes);

  // The bytes reach the device before the name does. Called once, last.
  llvm::Error publish();

 private:
  OutputFile(std::string path, std::string destination)
      : path_(std::move(path)), destination_(std::move(destination)) {}
  llvm::Error failed(int reason) const;

  std::string path_;         // as the user names it
  std::string destination_;  // where its links lead
  std::string temporary_;    // "": there is none
  int fd_ = -1;
};

}  // namespace mhcjit::tools
