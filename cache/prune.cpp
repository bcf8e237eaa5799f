#include "cache/prune.h"

#include <array>
#include <cstdio>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <llvm/ADT/STLExtras.h>

#include "cache/replace_file.h"
#include "cache/stored_entry.h"
#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

constexpr std::int64_t minute_seconds = 60;
constexpr std::int64_t young_seconds = 10 * minute_seconds;
// A writer may be at work on a leftover, and somebody may mean to read a source.
constexpr std::int64_t leftover_seconds = 60 * minute_seconds;
constexpr std::int64_t kept_source_seconds = 7 * 24 * 60 * minute_seconds;
constexpr std::int64_t nanoseconds_per_second = 1'000'000'000;

enum class Removal { removed, spared, failed };

bool same_file(const struct stat& status, const StoredFile& file) {
  return status.st_ino == file.inode &&
         status.st_mtim.tv_sec * nanoseconds_per_second + status.st_mtim.tv_nsec == file.modified_nanoseconds;
}

// Removes one file at a time and keeps the account.
class Remover {
 public:
  Remover(const std::string& root, bool dry_run, PruneReport& report)
      : root_(root), dry_run_(dry_run), report_(report) {}

  bool entry(const StoredFile& file) {
    const std::optional<std::string> digest = digest_of_name(file.name);
    if (!digest || (!dry_run_ && move_and_remove(file, *digest) != Removal::removed)) return false;
    report_.removed_digests.push_back(*digest);
    report_.removed_disk_bytes += file.disk_bytes;
    return true;
  }

  void leftover(const StoredFile& file) {
    if (!dry_run_ && remove(root_ + "/" + file.name) != Removal::removed) return;
    ++report_.removed_leftovers;
    report_.leftover_disk_bytes += file.disk_bytes;
  }

 private:
  Removal fail(const char* call, const std::string& path) {
    report_.failures.push_back(take_failure(call_failed(call, path, errno)).text);
    return Removal::failed;
  }

  // Also an empty folder.
  Removal remove(const std::string& path) {
    if (std::remove(path.c_str()) == 0) return Removal::removed;
    return errno == ENOENT ? Removal::spared : fail("remove", path);
  }

  // A process that uses or replaces the entry after the scan does so under its name, so a file that was moved away is
  // looked at once more before it is lost.
  Removal move_and_remove(const StoredFile& file, const std::string& digest) {
    const std::string path = root_ + "/" + file.name;
    llvm::Expected<std::string> aside = random_path(FileOps::system(), root_, digest, ".bad");
    if (!aside) {
      report_.failures.push_back(take_failure(aside.takeError()).text);
      return Removal::failed;
    }
    if (::rename(path.c_str(), aside->c_str()) != 0) return errno == ENOENT ? Removal::spared : fail("rename", path);
    struct stat status = {};
    if (::lstat(aside->c_str(), &status) == 0 && !same_file(status, file)) {
      // If the name is taken again, a newer entry stands there, and this one may go.
      if (::renameat2(AT_FDCWD, aside->c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0) return Removal::spared;
    }
    return remove(*aside);
  }

  const std::string& root_;
  const bool dry_run_;
  PruneReport& report_;
};

// Files whose time is in the future are of now, on disk too.
void clamp_times(const std::string& root, std::vector<StoredFile>& files, const PruneOptions& options) {
  for (StoredFile& file : files) {
    const std::int64_t now = options.now_unix_seconds * nanoseconds_per_second;
    if (file.modified_unix_seconds() <= options.now_unix_seconds) continue;
    file.modified_nanoseconds = now;
    if (options.dry_run) continue;
    const timespec times[2] = {{0, UTIME_OMIT}, {options.now_unix_seconds, 0}};
    ::utimensat(AT_FDCWD, (root + "/" + file.name).c_str(), times, AT_SYMLINK_NOFOLLOW);
  }
}

// 80 %, without overflow.
std::uint64_t watermark(std::uint64_t limit) { return limit - limit / 5; }

void trim(std::vector<StoredFile> files, const PruneOptions& options, Remover& remover, PruneReport& report) {
  const StoreLimits& limits = options.limits;
  if (report.entries <= limits.max_entries && report.entry_disk_bytes <= limits.max_bytes) return;
  llvm::stable_sort(
      files, [](const StoredFile& a, const StoredFile& b) { return a.modified_nanoseconds < b.modified_nanoseconds; });
  std::uint64_t count = report.entries, bytes = report.entry_disk_bytes;
  for (const StoredFile& file : files) {
    if (count <= watermark(limits.max_entries) && bytes <= watermark(limits.max_bytes)) return;
    // The rest is younger still.
    if (options.now_unix_seconds - file.modified_unix_seconds() < young_seconds) return;
    const std::string digest = digest_of_name(file.name).value_or("");
    if ((options.in_use && options.in_use(digest)) || !remover.entry(file)) continue;
    --count;
    bytes -= file.disk_bytes;
  }
}

}  // namespace

llvm::Expected<PruneReport> prune(const std::string& root, const PruneOptions& options) {
  llvm::Expected<StoreScan> scan = scan_store(root);
  if (!scan) return scan.takeError();
  PruneReport report;
  report.entries = scan->entries.size();
  report.entry_disk_bytes = scan->entry_disk_bytes();
  clamp_times(root, scan->entries, options);
  clamp_times(root, scan->leftovers, options);
  Remover remover(root, options.dry_run, report);
  for (const StoredFile& file : scan->leftovers) {
    const std::int64_t lifetime = is_kept_source(file.name) ? kept_source_seconds : leftover_seconds;
    if (options.now_unix_seconds - file.modified_unix_seconds() >= lifetime) remover.leftover(file);
  }
  trim(std::move(scan->entries), options, remover, report);
  return report;
}

PruneReport remove_files(const std::string& root, const std::vector<StoredFile>& entries,
                         const std::vector<StoredFile>& leftovers, bool dry_run) {
  PruneReport report;
  report.entries = entries.size();
  Remover remover(root, dry_run, report);
  for (const StoredFile& file : entries) {
    report.entry_disk_bytes += file.disk_bytes;
    remover.entry(file);
  }
  for (const StoredFile& file : leftovers) remover.leftover(file);
  return report;
}

bool on_network_file_system(const std::string& root) {
  struct statfs status = {};
  if (::statfs(root.c_str(), &status) != 0) return false;
  // NFS, SMB of three generations, AFS, Ceph, 9P, Lustre, GPFS.
  constexpr std::array<std::uint32_t, 9> shared = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC,
                                                   SMB2_SUPER_MAGIC, AFS_SUPER_MAGIC, CEPH_SUPER_MAGIC,
                                                   V9FS_MAGIC,       0x0bd00bd0,      0x47504653};
  return llvm::is_contained(shared, static_cast<std::uint32_t>(status.f_type));
}

}  // namespace mhcjit::cache
