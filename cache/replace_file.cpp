#include "cache/replace_file.h"

#include <cstdint>

#include <fcntl.h>

#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

int rename(FileOps& ops, const std::string& from, const std::string& to) {
  return retry([&] { return ops.rename(from.c_str(), to.c_str()); });
}

int unlink(FileOps& ops, const std::string& path) {
  return retry([&] { return ops.unlink(path.c_str()); });
}

using Fill = llvm::function_ref<llvm::Error(int fd, const std::string& path)>;

llvm::Error fill_new_file(FileOps& ops, int fd, const std::string& path, Fill fill, bool flush) {
  Descriptor file(ops, fd);
  if (llvm::Error error = fill(fd, path)) return error;
  if (flush && retry([&] { return ops.fsync(fd); }) != 0) return call_failed("fsync", path, errno);
  // Network file systems report a full disk or quota here.
  if (!file.close()) return call_failed("close", path, errno);
  return llvm::Error::success();
}

// The path of a new temporary that `fill` has filled, or nothing is left.
llvm::Expected<std::string> make_temporary(FileOps& ops, const std::string& folder, const std::string& stem, Fill fill,
                                           bool flush) {
  llvm::Expected<std::string> path = random_path(ops, folder, stem, ".tmp");
  if (!path) return path;
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const int fd = retry([&] { return ops.open(path->c_str(), flags, 0644); });
  if (fd < 0) return call_failed("open", *path, errno);
  llvm::Error error = fill_new_file(ops, fd, *path, fill, flush);
  if (!error) return path;
  unlink(ops, *path);
  return error;
}

llvm::Error move_over(FileOps& ops, const std::string& from, const std::string& folder, const std::string& stem,
                      llvm::StringRef extension) {
  const std::string to = folder + "/" + stem + extension.str();
  if (rename(ops, from, to) == 0) return llvm::Error::success();
  // A folder is the one thing that a rename does not replace.
  if (errno != EISDIR) return call_failed("rename", from, errno);
  if (llvm::Error error = set_aside(ops, folder, stem, extension)) return error;
  return rename(ops, from, to) == 0 ? llvm::Error::success() : call_failed("rename", from, errno);
}

llvm::Error flush_folder(FileOps& ops, const std::string& path) {
  Descriptor folder(ops, retry([&] { return ops.open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); }));
  if (folder.get() < 0) return call_failed("open", path, errno);
  // EINVAL: a file system whose folders need no flush.
  if (retry([&] { return ops.fsync(folder.get()); }) != 0 && errno != EINVAL) return call_failed("fsync", path, errno);
  return llvm::Error::success();
}

}  // namespace

llvm::Error make_folder(FileOps& ops, const std::string& path) {
  const auto mkdir = [&] { return retry([&] { return ops.mkdir(path.c_str(), 0700); }) == 0 || errno == EEXIST; };
  if (mkdir()) return llvm::Error::success();
  const std::size_t slash = path.find_last_of('/');
  if (errno == ENOENT && slash != std::string::npos && slash != 0) {
    if (llvm::Error error = make_folder(ops, path.substr(0, slash))) return error;
    if (mkdir()) return llvm::Error::success();
  }
  return call_failed("mkdir", path, errno);
}

llvm::Error write_all(FileOps& ops, int fd, const std::string& path, llvm::StringRef bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retry([&] { return ops.write(fd, bytes.data(), bytes.size()); });
    if (written <= 0) return call_failed("write", path, written < 0 ? errno : EIO);
    bytes = bytes.drop_front(static_cast<std::size_t>(written));
  }
  return llvm::Error::success();
}

llvm::Expected<std::string> random_path(FileOps& ops, const std::string& folder, const std::string& stem,
                                        llvm::StringRef extension) {
  std::uint64_t number = 0;
  const ssize_t got = retry([&] { return ops.random(&number, sizeof(number)); });
  if (got != sizeof(number)) return call_failed("getrandom", folder, got < 0 ? errno : EIO);
  return fmt::format("{}/{}.{:016x}{}", folder, stem, number, extension.str());
}

llvm::Error replace_file(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension,
                         llvm::StringRef bytes, bool flush) {
  const auto fill = [&](int fd, const std::string& path) { return write_all(ops, fd, path, bytes); };
  return replace_file(ops, folder, stem, extension, fill, flush);
}

llvm::Error replace_file(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension,
                         Fill fill, bool flush) {
  llvm::Expected<std::string> temporary = make_temporary(ops, folder, stem, fill, flush);
  if (!temporary) return temporary.takeError();
  // Before the rename, where a journal has written it already with the file: what is lost with the power is a rename,
  // and with it a file that can be made again.
  llvm::Error error = flush ? flush_folder(ops, folder) : llvm::Error::success();
  if (!error) error = move_over(ops, *temporary, folder, stem, extension);
  if (error) unlink(ops, *temporary);
  return error;
}

llvm::Error probe_folder(FileOps& ops, const std::string& folder) {
  const auto fill = [&](int fd, const std::string& path) { return write_all(ops, fd, path, std::string(4096, '\0')); };
  llvm::Expected<std::string> path = make_temporary(ops, folder, "probe", fill, /*flush=*/true);
  if (!path) return path.takeError();
  return unlink(ops, *path) == 0 ? llvm::Error::success() : call_failed("unlink", *path, errno);
}

llvm::Error set_aside(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension) {
  const std::string path = folder + "/" + stem + extension.str();
  llvm::Expected<std::string> aside = random_path(ops, folder, stem, ".bad");
  if (!aside) {
    llvm::consumeError(aside.takeError());
  } else if (rename(ops, path, *aside) == 0 || errno == ENOENT) {
    return llvm::Error::success();
  }
  if (unlink(ops, path) == 0 || errno == ENOENT) return llvm::Error::success();
  return call_failed("unlink", path, errno);
}

}  // namespace mhcjit::cache
