// The trim that a process makes by itself, of the folder that it publishes to.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cache/prune.h"

namespace mhcjit::cache {

// Thread-safe.
class AutoTrim {
 public:
  // An entry that this process found or published stays for as long as the process lives.
  void note_use(const std::string& digest);

  // Trims after the first publish and then at most once an hour, in the calling thread: the publish follows a compile
  // of 100 ms or more, and a look at 1,000 entries takes about 2 ms. Never on a network file system. A failure is of no
  // consequence: the next process trims. Returns the digests of what it removed.
  std::vector<std::string> after_publish(const std::string& root, const StoreLimits& limits);

 private:
  bool is_due();

  std::mutex mutex_;
  std::set<std::string> used_;
  std::optional<std::chrono::steady_clock::time_point> last_;
};

}  // namespace mhcjit::cache
