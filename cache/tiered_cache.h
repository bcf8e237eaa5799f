// The tiers in which one engine looks for entries: a folder that is written, others that are only read, and a server.
// They lie below the memory tier (single_flight.h). Processes that start together share them.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/Support/Error.h>

#include "cache/disk_cache.h"
#include "cache/prune.h"
#include "cache/remote_store.h"

namespace mhcjit::cache {

struct TierOptions {
  Options folders;                                 // of each folder; read_only is set here
  RemoteOptions remote = {};                       // asked last; its key and log are those of the folders
  std::vector<std::string> read_only_roots = {};   // asked in this order, after the writable one
  std::string installed_root = {};                 // asked after those; stays, so nothing is copied; "": none
  std::chrono::milliseconds lock_timeout{30'000};  // how long a process waits for another that compiles the same
  // Folder of the lock file when the writable folder is on a network file system; "": there is none then.
  std::string runtime_folder = {};
  bool (*on_network)(const std::string& root) = on_network_file_system;
};

// Since the TieredCache was made.
struct TierCounters {
  Counters writable;
  RemoteCounters remote;
  std::uint64_t read_only_hits = 0;
  std::uint64_t promotions = 0;       // of those and the remote's hits, the ones written to the writable folder
  std::uint64_t corrupt_entries = 0;  // in all folders
  // Compiles beside another process: it held the lock for too long, or the file system has no locks.
  std::uint64_t lock_timeouts = 0;
};

// Never fails its caller: what is wrong with a folder, a server, an entry or a lock is a miss, a counter and one
// warning. Every member may be called from any number of threads and processes at the same time.
class TieredCache {
 public:
  // Touches no file and no network. `root` is the writable folder, "" for none. `ops` outlives the cache.
  explicit TieredCache(std::string root, TierOptions options = {}, FileOps& ops = FileOps::system());

  struct Found {
    Entry entry;
    Tier tier = Tier::writable;
    bool promoted = false;  // it was copied to the writable folder
  };

  // The entry of this key in the first folder that has it, or on the server, or nothing. An entry that came neither
  // from the writable folder nor from the installed one is written to the former, where it outlives the other and is
  // found sooner.
  std::optional<Found> find(const CacheKey& key, llvm::StringRef architecture);

  struct Made {
    Entry entry;
    std::optional<Tier> found_in;  // where another process published it meanwhile; nothing: `compile` made it
  };

  // For a key that find() did not find. Returns the result of `compile`, and publishes it; or the entry that another
  // process has published, which was compiling it. One of all processes that use the writable folder and ask at once
  // compiles. If it publishes nothing, if `lock_timeout` is over, or if there are no locks, this one compiles too.
  // Errors: those of `compile`.
  llvm::Expected<Made> make_once(const CacheKey& key, llvm::StringRef architecture,
                                 llvm::function_ref<llvm::Expected<Entry>()> compile);

  // As DiskCache, on the writable folder; and to the server, in the background.
  bool publish(const CacheKey& key, const Entry& entry);

  // As DiskCache, on the writable folder.
  bool invalidate(const CacheKey& key) { return writable_.invalidate(key); }

  TierCounters counters() const;

  // The writable folder; absolute, "" for none.
  const std::string& root() const { return writable_.root(); }

  // With the installed one.
  std::vector<std::string> read_only_roots() const;
  // All folders in the order in which they are asked.
  std::vector<std::string> roots() const;

 private:
  std::optional<Found> find_in_folders(const CacheKey& key, llvm::StringRef architecture);
  Found promote(const CacheKey& key, Entry entry, Tier tier);
  std::string lock_path();
  void count_missing_lock(std::string_view reason);

  const TierOptions options_;
  FileOps& ops_;
  DiskCache writable_;
  std::vector<std::unique_ptr<DiskCache>> read_only_;
  const DiskCache* installed_ = nullptr;  // the last of them, where there is one
  std::unique_ptr<RemoteStore> remote_;   // null: there is none
  std::atomic<std::uint64_t> promotions_ = 0;
  std::atomic<std::uint64_t> lock_timeouts_ = 0;
  std::atomic<bool> warned_ = false;
};

}  // namespace mhcjit::cache
