#include "cache/tiered_cache.h"

#include "cache/checked_file.h"
#include "cache/process_lock.h"
#include "cache/system_call.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

Options folder_options(Options options, bool read_only) {
  options.read_only = read_only;
  return options;
}

}  // namespace

TieredCache::TieredCache(std::string root, TierOptions options, FileOps& ops)
    : options_(std::move(options)),
      ops_(ops),
      writable_(std::move(root), folder_options(options_.folders, /*read_only=*/false), ops) {
  const auto add = [&](const std::string& folder) {
    read_only_.push_back(
        std::make_unique<DiskCache>(folder, folder_options(options_.folders, /*read_only=*/true), ops));
  };
  for (const std::string& folder : options_.read_only_roots) add(folder);
  if (!options_.installed_root.empty()) {
    add(options_.installed_root);
    installed_ = read_only_.back().get();
  }
  if (options_.remote.server.url.empty()) return;
  RemoteOptions remote = options_.remote;
  remote.hmac_key = options_.folders.hmac_key;
  remote.log = options_.folders.log;
  remote_ = std::make_unique<RemoteStore>(std::move(remote));
}

std::optional<TieredCache::Found> TieredCache::find(const CacheKey& key, llvm::StringRef architecture) {
  if (std::optional<Found> found = find_in_folders(key, architecture)) return found;
  if (remote_ == nullptr) return std::nullopt;
  std::optional<Entry> entry = remote_->find(key, architecture);
  if (!entry) return std::nullopt;
  return promote(key, std::move(*entry), Tier::remote);
}

llvm::Expected<TieredCache::Made> TieredCache::make_once(const CacheKey& key, llvm::StringRef architecture,
                                                         llvm::function_ref<llvm::Expected<Entry>()> compile) {
  std::optional<ProcessLock> lock;
  // Without a folder that can be written there is nothing that another process could leave for this one.
  if (const std::string path = lock_path(); !path.empty()) {
    lock.emplace(ops_, path, key.digest(), options_.lock_timeout);
    const ProcessLock::State state = lock->state();
    const bool may_be_done = state == ProcessLock::State::held || state == ProcessLock::State::timed_out;
    if (may_be_done) {
      // Not on the server: what was not there a moment ago another process of this machine would have published here.
      if (std::optional<Found> found = find_in_folders(key, architecture))
        return Made{std::move(found->entry), found->tier};
      // The holder of the lock left nothing: the disk is full, or the compile fails. If all that wait took the lock in
      // turn, each would wait for all before it; now they compile at once.
      if (lock->waited()) lock.reset();
    }
    if (state == ProcessLock::State::unsupported)
      count_missing_lock(fmt::format("'{}' cannot be locked", path));
    else if (state == ProcessLock::State::timed_out)
      count_missing_lock(fmt::format("another process has held '{}' for {} ms", path, options_.lock_timeout.count()));
  }
  llvm::Expected<Entry> entry = compile();
  if (!entry) return entry.takeError();
  return Made{std::move(*entry), std::nullopt};
}

bool TieredCache::publish(const CacheKey& key, const Entry& entry) {
  const bool published = writable_.publish(key, entry);
  if (remote_ != nullptr) remote_->publish(key, entry);
  return published;
}

TierCounters TieredCache::counters() const {
  TierCounters counters;
  counters.writable = writable_.counters();
  counters.corrupt_entries = counters.writable.corrupt_entries;
  for (const auto& folder : read_only_) {
    const Counters of_folder = folder->counters();
    counters.read_only_hits += of_folder.hits;
    counters.corrupt_entries += of_folder.corrupt_entries;
  }
  if (remote_ != nullptr) counters.remote = remote_->counters();
  counters.promotions = promotions_;
  counters.lock_timeouts = lock_timeouts_;
  return counters;
}

std::vector<std::string> TieredCache::read_only_roots() const {
  std::vector<std::string> roots;
  for (const auto& folder : read_only_) roots.push_back(folder->root());
  return roots;
}

std::vector<std::string> TieredCache::roots() const {
  std::vector<std::string> roots = read_only_roots();
  if (!root().empty()) roots.insert(roots.begin(), root());
  return roots;
}

std::optional<TieredCache::Found> TieredCache::find_in_folders(const CacheKey& key, llvm::StringRef architecture) {
  if (std::optional<Entry> entry = writable_.find(key, architecture)) return Found{std::move(*entry)};
  for (const auto& folder : read_only_) {
    std::optional<Entry> entry = folder->find(key, architecture);
    if (!entry) continue;
    if (folder.get() == installed_) return Found{std::move(*entry), Tier::read_only};
    return promote(key, std::move(*entry), Tier::read_only);
  }
  return std::nullopt;
}

TieredCache::Found TieredCache::promote(const CacheKey& key, Entry entry, Tier tier) {
  const bool promoted = writable_.publish(key, entry);
  if (promoted) ++promotions_;
  return {std::move(entry), tier, promoted};
}

// Beside the entries, so that whoever shares the folder shares the lock. Locks of network file systems may block for
// minutes, and are not for machines to wait for each other: there, a folder of this machine.
std::string TieredCache::lock_path() {
  if (root().empty() || !writable_.make_root()) return "";
  if (!options_.on_network(root())) return root() + "/" + lock_file_name.str();
  const std::string& folder = options_.runtime_folder;
  if (folder.empty()) return "";
  // One level only: the system makes a user's runtime folder, or there is none.
  retry([&] { return ops_.mkdir(folder.c_str(), 0700); });
  llvm::Expected<bool> usable = check_folder(ops_, folder, Trust::owner);
  if (usable) return *usable ? folder + "/" + lock_file_name.str() : "";
  llvm::consumeError(usable.takeError());
  return "";
}

void TieredCache::count_missing_lock(std::string_view reason) {
  ++lock_timeouts_;
  if (warned_.exchange(true)) return;
  options_.folders.log(MHCJIT_LOG_WARNING,
                       fmt::format("a kernel is compiled that another process may be compiling too: {}", reason));
}

}  // namespace mhcjit::cache
