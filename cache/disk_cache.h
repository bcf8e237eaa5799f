// Compiled operators in a folder, shared by every process of the user. The layout is in FORMAT.md.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <llvm/ADT/StringRef.h>

#include "cache/auto_trim.h"
#include "cache/cache_key.h"
#include "cache/entry.h"
#include "cache/entry_store.h"
#include "cache/file_ops.h"
#include "support/log.h"

namespace mhcjit::cache {

// The place of an entry; in traces "disk", "read_only" and "remote". The first two are kinds of folders.
enum class Tier { writable, read_only, remote };
std::string_view to_string(Tier tier);

struct Options {
  // Flush an entry and its folder to the device when it is published (0.7 to 0.9 ms). Without, a power cut may leave
  // an entry that fails its check and is compiled again.
  bool flush = true;
  // Use a folder that other users own or may write to, and their entries. They then decide which machine code runs.
  bool allow_shared_root = false;
  // Not "": the folder is a signed store (signed_store.h). That holds whoever may write it, so its owner and mode are
  // not looked at.
  std::string hmac_key = {};
  // Write nothing to the folder: a bad entry is passed over where it lies, and nothing can be published.
  bool read_only = false;
  // The folder is trimmed to these, now and then after a publish.
  StoreLimits limits = {};
  // Takes warnings, each kind once for each DiskCache, and traces of corrupt and evicted entries.
  Log log;
};

// Since the DiskCache was made.
struct Counters {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;           // find() that gave nothing, for whatever reason
  std::uint64_t corrupt_entries = 0;  // refused by a check, or by the driver
  std::uint64_t read_failures = 0;    // entries that are there and could not be read
  std::uint64_t publishes = 0;
  std::uint64_t publish_failures = 0;
};

// Never fails its caller: whatever is wrong with the folder or an entry is a miss or a false, a counter and one
// warning. Every member may be called from any number of threads and processes at the same time.
class DiskCache {
 public:
  // Touches no file. `root` "" is a cache that holds nothing; a relative one is taken from the current folder now.
  // The folder is made, with its parents, by the first publish(). `ops` outlives the cache.
  explicit DiskCache(std::string root, Options options = {}, FileOps& ops = FileOps::system());

  // The entry of this key, checked down to the cubins' tables, or nothing. An entry that fails a check is set aside.
  // Cost: six system calls and about 10 us for 100 KB.
  std::optional<Entry> find(const CacheKey& key, llvm::StringRef architecture);

  // Makes `entry` the entry of this key: whole or not at all, replacing what is there. True when it is on disk.
  // `entry.key_text` is `key.text()`. An entry that find() would refuse is not written.
  bool publish(const CacheKey& key, const Entry& entry);

  // Makes the folder, with its parents, if it is absent. True if it may be written.
  bool make_root();

  // Sets the entry of this key aside, because the driver refused its cubin. True when no entry is left.
  bool invalidate(const CacheKey& key);

  Counters counters() const;

  // Absolute; "" when the cache holds nothing.
  const std::string& root() const { return root_; }

 private:
  enum class Warning { unusable_root, unreadable_entry, corrupt_entry, publish_failed, count };
  using Counter = std::atomic<std::uint64_t>;

  // True if the root may be used; `create` makes one that is absent.
  bool open_root(bool create);
  std::optional<Entry> load(const CacheKey& key, llvm::StringRef architecture);
  bool set_entry_aside(const std::string& digest, std::string_view reason);
  void count_corrupt(const std::string& digest);
  std::string_view tier_name() const;
  void warn_once(Warning kind, std::string_view line);

  std::string root_;
  const Options options_;
  FileOps& ops_;
  const std::unique_ptr<EntryStore> store_;
  AutoTrim trim_;
  Counter hits_{0}, misses_{0}, corrupt_entries_{0}, read_failures_{0}, publishes_{0}, publish_failures_{0};
  std::array<std::atomic<bool>, static_cast<std::size_t>(Warning::count)> warned_{};
};

}  // namespace mhcjit::cache
