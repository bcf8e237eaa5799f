// A record on disk: it is created whole with its header, continued if its kind is the same, and only ever appended to.
#pragma once

#include <string>

#include <llvm/Support/Error.h>

#include "codegen/tuned_record.h"

namespace mhcjit::tuning {

// Returns success if trials of the one may stand beside trials of the other, or BAD_FILE with the fields that differ:
// program version, space, device, driver or NVRTC. The error calls the first one `file`.
llvm::Error check_same_kind(const std::string& file, const codegen::RecordHeader& found,
                            const codegen::RecordHeader& expected);

// Returns the file's record; nothing if there is no file, or an empty one. Errors: IO, BAD_FILE.
llvm::Expected<std::optional<codegen::TunedRecord>> read_record_file(const std::string& path);

// Makes a file of these bytes, if there is none or an empty one. Errors: IO, BAD_FILE if there is one.
llvm::Error make_record_file(const std::string& path, llvm::StringRef bytes);

// A record open for appending, by one process at a time.
class RecordFile {
 public:
  // Makes the file, or cuts off a line whose write was cut short. Errors: IO, BAD_FILE (no record, one of another kind,
  // or one that another process appends to).
  static llvm::Expected<RecordFile> open(const std::string& path, const codegen::RecordHeader& header);

  RecordFile(RecordFile&& other) noexcept;
  RecordFile& operator=(RecordFile&&) = delete;
  ~RecordFile();

  // Returns the record that the file held when it was opened.
  const codegen::TunedRecord& before() const { return before_; }

  // Appends a line of a record in one write. Errors: IO.
  llvm::Error append(llvm::StringRef line);

 private:
  RecordFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  llvm::Error continue_with(const codegen::RecordHeader& header);

  std::string path_;
  int fd_;
  codegen::TunedRecord before_ = {};
};

}  // namespace mhcjit::tuning
