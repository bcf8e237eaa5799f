#include "cache/bundle.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>

#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "cache/replace_file.h"
#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

std::string printable(std::string name) {
  std::replace_if(name.begin(), name.end(), [](char c) { return !llvm::isPrint(c); }, '?');
  return name;
}

// The file of a bundle, read from its start any number of times.
class BundleFile {
 public:
  static llvm::Expected<BundleFile> open(const std::string& path) {
    const int fd = retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); });
    if (fd < 0) return call_failed("open", path, errno);
    BundleFile file(path, fd);
    struct stat status = {};
    if (::fstat(fd, &status) != 0) return call_failed("fstat", path, errno);
    if (!S_ISREG(status.st_mode)) return make_error(MHCJIT_ERROR_BAD_FILE, "it is no regular file, it should be one");
    return file;
  }

  BundleFile(BundleFile&& other) noexcept : path_(other.path_), fd_(std::exchange(other.fd_, -1)) {}
  ~BundleFile() {
    if (fd_ >= 0) ::close(fd_);
  }

  llvm::Error read(const BundleVisitor& visitor) const {
    if (::lseek(fd_, 0, SEEK_SET) != 0) return call_failed("lseek", path_, errno);
    const auto source = [this](char* buffer, std::size_t size) -> llvm::Expected<std::size_t> {
      const ssize_t got = retry([&] { return ::read(fd_, buffer, size); });
      if (got < 0) return call_failed("read", path_, errno);
      return static_cast<std::size_t>(got);
    };
    return read_bundle(source, visitor);
  }

 private:
  BundleFile(const std::string& path, int fd) : path_(path), fd_(fd) {}

  const std::string& path_;
  int fd_;
};

bool has_sound_entry(EntryStore& store, const std::string& digest) {
  llvm::Expected<std::optional<StoredEntry>> entry = read_stored_entry(store, digest);
  if (entry) return entry->has_value();
  llvm::consumeError(entry.takeError());
  return false;
}

llvm::Error bad_member(llvm::StringRef name, llvm::Error reason) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "member '{}' is bad: {}", name.str(), take_failure(std::move(reason)).text);
}

llvm::Expected<ImportReport> import_checked(const BundleFile& file, const std::string& root, EntryStore& store,
                                            bool dry_run) {
  const auto check = [&](const std::string& digest, const StoredEntry& entry) -> llvm::Error {
    if (llvm::Error error = store.check(entry.bytes))
      return bad_member(digest + entry_extension.str(), std::move(error));
    return llvm::Error::success();
  };
  if (llvm::Error error = file.read({.entry = check, .compilers = {}})) return error;
  if (!dry_run) {
    if (llvm::Error error = open_folder(FileOps::system(), root, Trust::owner)) return error;
  }
  ImportReport report;
  BundleVisitor visitor;
  // The checks are made again: the file may have changed since.
  visitor.entry = [&](const std::string& digest, const StoredEntry& entry) -> llvm::Error {
    if (llvm::Error error = check(digest, entry)) return error;
    if (has_sound_entry(store, digest)) {
      ++report.already_there;
      return llvm::Error::success();
    }
    report.imported.push_back(digest);
    return dry_run ? llvm::Error::success() : store.write(digest, entry.bytes);
  };
  visitor.compilers = [&](const CompilerLines& lines) -> llvm::Error {
    report.compilers = lines;
    return dry_run ? llvm::Error::success() : add_compilers(root, lines);
  };
  if (llvm::Error error = file.read(visitor)) return error;
  return report;
}

}  // namespace

void BundleWriter::add_compilers(const CompilerLines& lines) {
  add_member(compiler_record_name, compiler_record(lines), 0);
}

void BundleWriter::add(llvm::StringRef digest, const StoredEntry& entry) {
  add_member((digest + entry_extension).str(), entry.bytes, entry.entry.created_unix_seconds);
}

llvm::Error BundleWriter::finish() {
  write(tar_end());
  return std::move(error_);
}

void BundleWriter::add_member(llvm::StringRef name, llvm::StringRef bytes, std::int64_t unix_seconds) {
  write(tar_header(name, bytes.size(), unix_seconds));
  write(bytes);
  write(tar_padding(bytes.size()));
}

void BundleWriter::write(llvm::StringRef bytes) {
  if (!error_) error_ = write_all(FileOps::system(), fd_, path_, bytes);
}

llvm::Error write_bundle(int fd, const std::string& path, llvm::function_ref<llvm::Error(BundleWriter&)> fill) {
  BundleWriter writer(fd, path);
  if (llvm::Error error = fill(writer)) {
    llvm::consumeError(writer.finish());
    return error;
  }
  return writer.finish();
}

llvm::Error read_bundle(const TarReader::Source& source, const BundleVisitor& visitor) {
  TarReader reader(source, max_entry_file_bytes);
  std::set<std::string> names;
  while (true) {
    llvm::Expected<std::optional<TarMember>> member = reader.next();
    if (!member) return member.takeError();
    if (!*member) break;
    const std::string name = (*member)->name;
    const auto refuse = [&](const std::string& reason) {
      return make_error(MHCJIT_ERROR_BAD_FILE, "member '{}' {}", printable(name), reason);
    };
    if (!names.insert(name).second) return refuse("stands in it twice, it should once");
    llvm::Error error = llvm::Error::success();
    if (const std::optional<std::string> digest = digest_of_name(name)) {
      llvm::Expected<StoredEntry> entry = check_stored_entry(std::move((*member)->bytes), *digest);
      if (!entry) return bad_member(name, entry.takeError());
      if (visitor.entry) error = visitor.entry(*digest, *entry);
    } else if (name == compiler_record_name) {
      const std::optional<CompilerLines> lines = parse_compiler_record((*member)->bytes);
      if (!lines)
        return refuse(fmt::format("is bad, it should be 1 to {} different printable lines", max_recorded_compilers));
      if (visitor.compilers) error = visitor.compilers(*lines);
    } else {
      return refuse("is no entry, it should be '<digest>.mhcjit' or 'compiler_identity'");
    }
    if (error) return error;
  }
  return llvm::Error::success();
}

llvm::Expected<ImportReport> import_bundle(const std::string& path, const std::string& root, EntryStore& store,
                                           bool dry_run) {
  llvm::Expected<BundleFile> file = BundleFile::open(path);
  llvm::Expected<ImportReport> report = file ? import_checked(*file, root, store, dry_run) : file.takeError();
  if (report) return report;
  const Failure failure = take_failure(report.takeError());
  return make_error(failure.status, "bundle '{}' is not imported: {}", path, failure.text);
}

}  // namespace mhcjit::cache
