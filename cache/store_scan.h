// Lists the files of a cache folder by name, size and time; opens none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

// The file in which the source of an entry's kernel is kept that the compiler refused, below the folder.
std::string kept_source_name(llvm::StringRef digest, llvm::StringRef kernel);
bool is_kept_source(llvm::StringRef name);

struct StoredFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::uint64_t disk_bytes = 0;           // the blocks that it takes
  std::int64_t modified_nanoseconds = 0;  // since 1970-01-01 UTC; of an entry: its last use, give or take an hour
  std::uint64_t inode = 0;

  std::int64_t modified_unix_seconds() const { return modified_nanoseconds / 1'000'000'000; }
};

// Sorted by name.
struct StoreScan {
  std::vector<StoredFile> entries;  // "<digest>.mhcjit", whatever stands under the name
  std::vector<StoredFile>
      leftovers;  // .tmp and .bad, of entries and of what else is replaced in the folder; kept sources

  std::uint64_t entry_disk_bytes() const;
};

// Nothing in both lists when there is no folder. Files that appear or vanish meanwhile are in it or not. Cost: one
// stat a file, about 2 us on a local disk. Errors: BAD_FILE when `root` is no folder or not to be trusted; IO.
llvm::Expected<StoreScan> scan_store(const std::string& root);

}  // namespace mhcjit::cache
