#include "cache/store_scan.h"

#include <memory>
#include <numeric>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringRef.h>

#include "cache/checked_file.h"
#include "cache/folder_store.h"
#include "cache/stored_entry.h"
#include "cache/system_call.h"

namespace mhcjit::cache {
namespace {

constexpr std::uint64_t stat_block_bytes = 512;
constexpr std::size_t random_digits = 16;
constexpr llvm::StringLiteral source_extension(".cu");

// "<stem>.<16 hexadecimal digits>.tmp" or ".bad".
bool is_leftover(llvm::StringRef name) {
  if (!name.consume_back(".tmp") && !name.consume_back(".bad")) return false;
  const auto [stem, random] = name.rsplit('.');
  return !stem.empty() && random.size() == random_digits && llvm::all_of(random, llvm::isHexDigit);
}

bool is_word_character(char c) { return llvm::isAlnum(c) || c == '_'; }

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

StoredFile describe(const char* name, const struct stat& status) {
  return {name, static_cast<std::uint64_t>(status.st_size),
          static_cast<std::uint64_t>(status.st_blocks) * stat_block_bytes,
          status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec, status.st_ino};
}

}  // namespace

std::string kept_source_name(llvm::StringRef digest, llvm::StringRef kernel) {
  return (digest + "." + kernel + source_extension).str();
}

bool is_kept_source(llvm::StringRef name) {
  if (!name.consume_back(source_extension)) return false;
  const auto [digest, kernel] = name.split('.');
  return digest_of_name((digest + entry_extension).str()) && !kernel.empty() && llvm::all_of(kernel, is_word_character);
}

std::uint64_t StoreScan::entry_disk_bytes() const {
  return std::accumulate(entries.begin(), entries.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const StoredFile& file) { return sum + file.disk_bytes; });
}

llvm::Expected<StoreScan> scan_store(const std::string& root) {
  llvm::Expected<bool> usable = check_folder(FileOps::system(), root, Trust::owner);
  if (!usable) return usable.takeError();
  StoreScan scan;
  if (!*usable) return scan;
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir(root.c_str()));
  if (!folder) return call_failed("opendir", root, errno);
  errno = 0;
  while (const dirent* item = ::readdir(folder.get())) {
    const bool is_entry = digest_of_name(item->d_name).has_value();
    struct stat status = {};
    if ((is_entry || is_leftover(item->d_name) || is_kept_source(item->d_name)) &&
        ::fstatat(::dirfd(folder.get()), item->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
      (is_entry ? scan.entries : scan.leftovers).push_back(describe(item->d_name, status));
    }
    errno = 0;
  }
  if (errno != 0) return call_failed("readdir", root, errno);
  for (std::vector<StoredFile>* files : {&scan.entries, &scan.leftovers}) {
    llvm::sort(*files, [](const StoredFile& a, const StoredFile& b) { return a.name < b.name; });
  }
  return scan;
}

}  // namespace mhcjit::cache
