#include "cache/auto_trim.h"

#include <ctime>

namespace mhcjit::cache {

void AutoTrim::note_use(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  used_.insert(digest);
}

std::vector<std::string> AutoTrim::after_publish(const std::string& root, const StoreLimits& limits) {
  if (!is_due() || on_network_file_system(root)) return {};
  const auto in_use = [this](llvm::StringRef digest) {
    const std::lock_guard lock(mutex_);
    return used_.count(digest.str()) > 0;
  };
  llvm::Expected<PruneReport> report = prune(root, {limits, std::time(nullptr), /*dry_run=*/false, in_use});
  if (report) return std::move(report->removed_digests);
  llvm::consumeError(report.takeError());
  return {};
}

bool AutoTrim::is_due() {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (last_ && now - *last_ < std::chrono::hours(1)) return false;
  last_ = now;
  return true;
}

}  // namespace mhcjit::cache
