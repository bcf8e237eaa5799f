#include "tuning/record_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <llvm/Support/MemoryBuffer.h>

#include "cache/replace_file.h"
#include "support/error.h"

namespace mhcjit::tuning {
namespace {

using codegen::RecordHeader;
using codegen::TunedRecord;

llvm::Error failed(const std::string& path, const char* what) {
  return make_error(MHCJIT_ERROR_IO, "'{}' cannot be {}: {}", path, what, std::strerror(errno));
}

}  // namespace

llvm::Error check_same_kind(const std::string& file, const RecordHeader& found, const RecordHeader& expected) {
  std::vector<std::string> differences;
  const auto compare = [&](const char* name, const std::string& is, const std::string& wanted) {
    if (is != wanted) differences.push_back(fmt::format("{} is '{}', not '{}'", name, is, wanted));
  };
  compare("the program's version", found.version, expected.version);
  compare("the space of plans", found.space.substr(0, 16), expected.space.substr(0, 16));
  compare("the device", found.device, expected.device);
  compare("the architecture", to_string(found.architecture), to_string(expected.architecture));
  compare("its number of multiprocessors", std::to_string(found.multiprocessors),
          std::to_string(expected.multiprocessors));
  compare("the driver", found.driver, expected.driver);
  compare("NVRTC", found.nvrtc, expected.nvrtc);
  if (differences.empty()) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_BAD_FILE, "'{}' is a record of another sweep and is left as it is: {}", file,
                    fmt::join(differences, "; "));
}

llvm::Expected<std::optional<TunedRecord>> read_record_file(const std::string& path) {
  auto text = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (text.getError() == std::errc::no_such_file_or_directory) return std::nullopt;
  if (!text) return make_error(MHCJIT_ERROR_IO, "'{}' cannot be read: {}", path, text.getError().message());
  if ((*text)->getBufferSize() == 0) return std::nullopt;
  auto record = codegen::parse_record(path, (*text)->getBuffer());
  if (!record) return record.takeError();
  return std::move(*record);
}

llvm::Error make_record_file(const std::string& path, llvm::StringRef bytes) {
  auto there = read_record_file(path);
  if (!there) return there.takeError();
  if (*there) return make_error(MHCJIT_ERROR_BAD_FILE, "'{}' is there already and is left as it is", path);
  const std::filesystem::path file = path;
  const std::string folder = file.has_parent_path() ? file.parent_path().string() : ".";
  return cache::replace_file(cache::FileOps::system(), folder, file.stem(), file.extension().string(), bytes,
                             /*flush=*/true);
}

llvm::Expected<RecordFile> RecordFile::open(const std::string& path, const RecordHeader& header) {
  auto there = read_record_file(path);
  if (!there) return there.takeError();
  // The header is there whole or not at all: a part of one would not tell whose file it is.
  if (!*there)
    if (auto error = make_record_file(path, to_line(header))) return error;
  const int fd = ::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
  if (fd < 0) return failed(path, "opened");
  RecordFile file(path, fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0)
    return make_error(MHCJIT_ERROR_BAD_FILE, "'{}' is appended to by another process", path);
  if (auto error = file.continue_with(header)) return error;
  return file;
}

RecordFile::RecordFile(RecordFile&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), before_(std::move(other.before_)) {}

RecordFile::~RecordFile() {
  if (fd_ >= 0) ::close(fd_);
}

llvm::Error RecordFile::continue_with(const RecordHeader& header) {
  auto record = read_record_file(path_);
  if (!record) return record.takeError();
  if (!*record) return make_error(MHCJIT_ERROR_IO, "'{}' has become empty", path_);
  before_ = std::move(**record);
  if (auto error = check_same_kind(path_, before_.header, header)) return error;
  if (::ftruncate(fd_, static_cast<off_t>(before_.whole_bytes)) != 0) return failed(path_, "cut");
  return llvm::Error::success();
}

llvm::Error RecordFile::append(llvm::StringRef line) {
  return cache::write_all(cache::FileOps::system(), fd_, path_, line);
}

}  // namespace mhcjit::tuning
