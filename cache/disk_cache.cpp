#include "cache/disk_cache.h"

#include <llvm/ADT/SmallString.h>
#include <llvm/Support/FileSystem.h>

#include "cache/checked_file.h"
#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "cache/replace_file.h"
#include "cache/signed_store.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::cache {
namespace {

std::string absolute(std::string root) {
  if (root.empty()) return root;
  llvm::SmallString<256> path(root);
  // Without a current folder a relative root names nothing.
  if (llvm::sys::fs::make_absolute(path)) return "";
  return path.str().str();
}

Trust trust_of(const Options& options) {
  return options.allow_shared_root ? Trust::everyone : trust_with(options.hmac_key);
}

std::unique_ptr<EntryStore> store_of(const std::string& root, const Options& options, FileOps& ops) {
  const Recency recency = options.read_only ? Recency::keep : Recency::touch;
  return signed_store(folder_store(root, {trust_of(options), recency, options.flush, ops}), options.hmac_key);
}

llvm::Expected<std::optional<Entry>> read_entry(EntryStore& store, const CacheKey& key, llvm::StringRef architecture) {
  llvm::Expected<std::optional<Bytes>> file = store.read(key.digest());
  if (!file) return file.takeError();
  if (!*file) return std::nullopt;
  llvm::Expected<Entry> entry = read_entry_file(**file, key, architecture);
  if (!entry) return entry.takeError();
  return std::move(*entry);
}

llvm::Error write_entry(EntryStore& store, const CacheKey& key, const Entry& entry) {
  llvm::Expected<std::string> file = make_entry_file(entry, key);
  if (!file) return file.takeError();
  return store.write(key.digest(), *file);
}

}  // namespace

std::string_view to_string(Tier tier) {
  switch (tier) {
    case Tier::writable: return "disk";
    case Tier::read_only: return "read_only";
    case Tier::remote: break;
  }
  return "remote";
}

DiskCache::DiskCache(std::string root, Options options, FileOps& ops)
    : root_(absolute(std::move(root))),
      options_(std::move(options)),
      ops_(ops),
      store_(store_of(root_, options_, ops)) {}

std::optional<Entry> DiskCache::find(const CacheKey& key, llvm::StringRef architecture) {
  std::optional<Entry> entry;
  if (open_root(/*create=*/false)) entry = load(key, architecture);
  ++(entry ? hits_ : misses_);
  return entry;
}

bool DiskCache::make_root() { return !options_.read_only && open_root(/*create=*/true); }

bool DiskCache::publish(const CacheKey& key, const Entry& entry) {
  if (root_.empty() || options_.read_only) return false;
  const bool usable = open_root(/*create=*/true);
  llvm::Error error = usable ? write_entry(*store_, key, entry) : llvm::Error::success();
  const bool published = usable && !error;
  ++(published ? publishes_ : publish_failures_);
  if (published) {
    trim_.note_use(key.digest());
    for (const std::string& digest : trim_.after_publish(root_, options_.limits))
      trace(options_.log, {.event = "evict", .digest = digest, .tier = tier_name()});
  }
  if (error) {
    warn_once(Warning::publish_failed,
              fmt::format("a compiled kernel is not kept in the cache folder '{}', the next process compiles it again: "
                          "{}",
                          root_, take_failure(std::move(error)).text));
  }
  return published;
}

bool DiskCache::invalidate(const CacheKey& key) {
  if (options_.read_only) return false;
  if (!open_root(/*create=*/false)) return true;
  return set_entry_aside(key.digest(), "the driver refused its cubin");
}

Counters DiskCache::counters() const {
  return {hits_, misses_, corrupt_entries_, read_failures_, publishes_, publish_failures_};
}

bool DiskCache::open_root(bool create) {
  if (root_.empty()) return false;
  const Trust trust = trust_of(options_);
  llvm::Expected<bool> usable = check_folder(ops_, root_, trust);
  if (usable && !*usable && create) {
    llvm::Error error = make_folder(ops_, root_);
    usable = error ? llvm::Expected<bool>(std::move(error)) : check_folder(ops_, root_, trust);
  }
  if (usable) return *usable;
  const std::string reason = take_failure(usable.takeError()).text;
  if (options_.read_only) {
    warn_once(Warning::unusable_root,
              fmt::format("read-only cache folder '{}' is not used: {}; make it usable or take it out of "
                          "MHCJIT_CACHE_RO",
                          root_, reason));
  } else {
    warn_once(
        Warning::unusable_root,
        fmt::format("cache folder '{}' is not used, compiled kernels are kept in memory only: {}; make it usable or "
                    "name another in MHCJIT_CACHE_DIR",
                    root_, reason));
  }
  return false;
}

std::optional<Entry> DiskCache::load(const CacheKey& key, llvm::StringRef architecture) {
  const std::string digest = key.digest();
  const std::string path = root_ + "/" + digest + entry_extension.str();
  llvm::Expected<std::optional<Entry>> entry = read_entry(*store_, key, architecture);
  if (entry) {
    if (*entry) trim_.note_use(digest);
    return std::move(*entry);
  }
  const Failure failure = take_failure(entry.takeError());
  // A call that failed says nothing about the entry, which may be sound: it stays.
  if (failure.status == MHCJIT_ERROR_IO) {
    ++read_failures_;
    warn_once(Warning::unreadable_entry,
              fmt::format("a cache entry cannot be read, its kernel is compiled again: {}", failure.text));
  } else if (options_.read_only) {
    count_corrupt(digest);
    warn_once(Warning::corrupt_entry,
              fmt::format("entry '{}' of a read-only cache folder is passed over: {}", path, failure.text));
  } else {
    set_entry_aside(digest, failure.text);
  }
  return std::nullopt;
}

bool DiskCache::set_entry_aside(const std::string& digest, std::string_view reason) {
  count_corrupt(digest);
  llvm::Error error = set_aside(ops_, root_, digest, entry_extension);
  const bool gone = !error;
  const std::string outcome = gone ? "is set aside" : "stays: " + take_failure(std::move(error)).text;
  warn_once(Warning::corrupt_entry, fmt::format("cache entry '{}/{}{}' is not used and {}, its kernel is compiled "
                                                "again: {}",
                                                root_, digest, std::string_view(entry_extension), outcome, reason));
  return gone;
}

void DiskCache::count_corrupt(const std::string& digest) {
  ++corrupt_entries_;
  trace(options_.log, {.event = "corrupt", .digest = digest, .tier = tier_name()});
}

std::string_view DiskCache::tier_name() const {
  return to_string(options_.read_only ? Tier::read_only : Tier::writable);
}

void DiskCache::warn_once(Warning kind, std::string_view line) {
  if (!warned_[static_cast<std::size_t>(kind)].exchange(true)) options_.log(MHCJIT_LOG_WARNING, line);
}

}  // namespace mhcjit::cache
