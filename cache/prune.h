// Keeps a cache folder within bounds, and empties it. Other processes may find and publish in the folder meanwhile: an
// entry vanishes whole, which is a miss to them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/store_scan.h"

namespace mhcjit::cache {

struct StoreLimits {
  std::uint64_t max_bytes = std::uint64_t{2} << 30;  // counted in blocks; 0: none may stay
  std::uint64_t max_entries = 100'000;
};

struct PruneOptions {
  StoreLimits limits;
  std::int64_t now_unix_seconds = 0;
  bool dry_run = false;  // the same report, and nothing changes
  // True if this process uses the entry of this digest; such an entry stays. Empty: it uses none.
  std::function<bool(llvm::StringRef digest)> in_use;
};

struct PruneReport {
  std::uint64_t entries = 0;  // before
  std::uint64_t entry_disk_bytes = 0;
  std::vector<std::string> removed_digests;
  std::uint64_t removed_disk_bytes = 0;
  std::uint64_t removed_leftovers = 0;
  std::uint64_t leftover_disk_bytes = 0;  // of those
  std::vector<std::string> failures;      // what could not be removed, and why
};

// When the folder is over a limit, removes the least recently used entries until it is at 80 % of both, so that the
// next publish does not begin again. Entries of the last 10 minutes and entries in use stay, even if the folder then
// stays over. Leftovers of more than an hour are removed in any case, kept sources after a week. A time in the future,
// left by a clock that was wrong, becomes now, here and on disk: it delays the removal by 10 minutes, not by years.
// Cost: scan_store(), and two renames' worth for each removed entry. Errors: those of scan_store().
llvm::Expected<PruneReport> prune(const std::string& root, const PruneOptions& options);

// Removes these files of a scan, young or not, unless they were used or replaced since.
PruneReport remove_files(const std::string& root, const std::vector<StoredFile>& entries,
                         const std::vector<StoredFile>& leftovers, bool dry_run);

// True if the folder lies on a file system that other machines share, where clocks differ and every call is slow:
// nothing is removed there unless someone asks for it. False when it cannot be told.
bool on_network_file_system(const std::string& root);

}  // namespace mhcjit::cache
