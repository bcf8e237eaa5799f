#include "cache/checked_file.h"

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

llvm::Error not_usable(std::string_view path, std::string_view actual, std::string_view expected) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "'{}' is {}, it should be {}", path, actual, expected);
}

llvm::Error check_owner(const std::string& path, const struct stat& status) {
  const uid_t user = ::geteuid();
  if (status.st_uid == user || status.st_uid == 0) return llvm::Error::success();
  return not_usable(path, fmt::format("owned by user {}", status.st_uid), fmt::format("owned by user {} or 0", user));
}

llvm::Error check_file(const std::string& path, const struct stat& status, std::size_t max_bytes, Trust trust) {
  if (!S_ISREG(status.st_mode)) return not_usable(path, "a folder, a FIFO or a device", "a regular file");
  if (static_cast<std::uint64_t>(status.st_size) > max_bytes) {
    return not_usable(path, fmt::format("{} bytes long", status.st_size), fmt::format("at most {}", max_bytes));
  }
  if (trust == Trust::everyone) return llvm::Error::success();
  if (trust == Trust::secret && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return not_usable(path, fmt::format("open to other users (mode {:o})", status.st_mode & 07777),
                      "open to its owner alone (chmod 600)");
  }
  return check_owner(path, status);
}

// At most once an hour, because each is a write to the device.
void touch(FileOps& ops, int fd, const struct stat& status) {
  constexpr std::int64_t hour = 60 * 60;
  if (std::abs(static_cast<std::int64_t>(std::time(nullptr)) - status.st_mtim.tv_sec) < hour) return;
  const timespec times[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  ops.futimens(fd, times);
}

}  // namespace

llvm::Expected<bool> check_folder(FileOps& ops, const std::string& path, Trust trust) {
  struct stat status = {};
  if (retry([&] { return ops.stat(path.c_str(), &status); }) != 0) {
    if (errno == ENOENT) return false;
    return call_failed("stat", path, errno);
  }
  if (!S_ISDIR(status.st_mode)) return not_usable(path, "not a folder", "a folder");
  if (trust == Trust::everyone) return true;
  if (llvm::Error error = check_owner(path, status)) return error;
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return not_usable(path, "writable by other users", "writable by its owner alone (chmod go-w)");
  }
  return true;
}

llvm::Expected<std::optional<Bytes>> read_file(FileOps& ops, const std::string& path, std::size_t max_bytes,
                                               Trust trust, Recency recency) {
  constexpr int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  Descriptor file(ops, retry([&] { return ops.open(path.c_str(), flags, 0); }));
  if (file.get() < 0) {
    if (errno == ENOENT) return std::nullopt;
    if (errno == ELOOP) return not_usable(path, "a link", "a regular file");
    if (errno == ENXIO) return not_usable(path, "a socket", "a regular file");
    return call_failed("open", path, errno);
  }
  struct stat status = {};
  if (retry([&] { return ops.fstat(file.get(), &status); }) != 0) return call_failed("fstat", path, errno);
  if (llvm::Error error = check_file(path, status, max_bytes, trust)) return error;

  const auto size = static_cast<std::size_t>(status.st_size);
  auto bytes = std::make_unique_for_overwrite<char[]>(size);
  std::size_t filled = 0;
  while (filled < size) {
    const ssize_t got = retry([&] { return ops.read(file.get(), bytes.get() + filled, size - filled); });
    if (got < 0) return call_failed("read", path, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  if (recency == Recency::touch) touch(ops, file.get(), status);
  return Bytes(std::move(bytes), filled);
}

}  // namespace mhcjit::cache
