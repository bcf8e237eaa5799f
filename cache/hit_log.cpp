#include "cache/hit_log.h"

#include <algorithm>
#include <set>

#include <fcntl.h>
#include <sys/resource.h>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>

#include "cache/checked_file.h"
#include "cache/prune.h"
#include "cache/replace_file.h"
#include "cache/store_scan.h"
#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

constexpr char file_name[] = "hits";
constexpr std::size_t name_digits = 16;
// No process opens a longer file, until it is swept: a million hits. Those that have it open go on.
constexpr std::uint64_t max_opened_bytes = std::uint64_t{16} << 20;
constexpr std::uint64_t max_read_bytes = 4 * max_opened_bytes;
constexpr std::uint64_t many_bytes = std::uint64_t{1} << 20;
// So that no sum of the file's lines overflows.
constexpr std::int64_t max_count = std::int64_t{1} << 40;

std::string path_in(const std::string& root) { return root + "/" + file_name; }

std::string name_of(llvm::StringRef digest) { return digest.take_front(name_digits).str(); }

// Beyond the limit of `ulimit -f` a write is a signal, which would end a program that only reads.
bool may_write() {
  rlimit limit = {};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

void add_line(HitCounts& counts, llvm::StringRef line) {
  const auto [name, number] = line.split(' ');
  std::int64_t count = 1;
  if (name.size() != name_digits || !llvm::all_of(name, llvm::isHexDigit)) return;
  if (!number.empty() && number.getAsInteger(10, count)) return;
  counts[name.str()] += std::clamp(count, std::int64_t{0}, max_count);
}

}  // namespace

HitLog::~HitLog() {
  if (fd_ >= 0) ops_.close(fd_);
}

void HitLog::add(llvm::StringRef digest) {
  std::call_once(opened_, [this] { open(); });
  if (fd_ < 0) return;
  const std::string line = name_of(digest) + '\n';
  retry([&] { return ops_.write(fd_, line.data(), line.size()); });
}

void HitLog::open() {
  // Appends of several machines overwrite each other.
  if (!may_write() || on_network_file_system(root_)) return;
  constexpr int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  const int fd = retry([&] { return ops_.open(path_in(root_).c_str(), flags, 0644); });
  if (fd < 0) return;
  struct stat status = {};
  // In a folder that others may write it may be a FIFO, or a second name of a file of this user's.
  if (ops_.fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1 &&
      static_cast<std::uint64_t>(status.st_size) < max_opened_bytes) {
    fd_ = fd;
  } else {
    ops_.close(fd);
  }
}

std::int64_t hits_of(const HitCounts& counts, llvm::StringRef digest) {
  const auto found = counts.find(name_of(digest));
  return found == counts.end() ? 0 : found->second;
}

HitCounts read_hits(const std::string& root) {
  HitCounts counts;
  auto bytes = read_file(FileOps::system(), path_in(root), max_read_bytes, Trust::owner);
  if (!bytes) {
    llvm::consumeError(bytes.takeError());
    return counts;
  }
  if (!*bytes) return counts;
  for (llvm::StringRef rest = **bytes; !rest.empty();) {
    const auto [line, behind] = rest.split('\n');
    add_line(counts, line);
    rest = behind;
  }
  return counts;
}

bool hits_are_many(const std::string& root) {
  struct stat status = {};
  return ::lstat(path_in(root).c_str(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) > many_bytes;
}

void sweep_hits(const std::string& root) {
  llvm::Expected<StoreScan> scan = scan_store(root);
  if (!scan) return llvm::consumeError(scan.takeError());
  std::set<std::string> names;
  for (const StoredFile& file : scan->entries) names.insert(name_of(file.name));
  std::string text;
  for (const auto& [name, count] : read_hits(root)) {
    if (names.contains(name)) text += fmt::format("{} {}\n", name, std::min(count, max_count));
  }
  FileOps& ops = FileOps::system();
  if (text.empty()) {
    ops.unlink(path_in(root).c_str());
  } else {
    llvm::consumeError(replace_file(ops, root, file_name, "", text, /*flush=*/false));
  }
}

}  // namespace mhcjit::cache
