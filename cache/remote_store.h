// Entries on a server (http_store.h), for a program that must not wait long for it, nor ask one again that fails.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/background_queue.h"
#include "cache/cache_key.h"
#include "cache/entry.h"
#include "cache/http_store.h"
#include "support/log.h"

namespace mhcjit::cache {

struct RemoteOptions {
  HttpStoreOptions server = {};  // its url: check_remote_url() says what is allowed; "": there is no server
  bool read_only = false;        // never uploads
  std::string hmac_key = {};     // not "": the server is a signed store (signed_store.h)
  QueueLimits uploads = {};
  Log log = {};
};

// Since the RemoteStore was made.
struct RemoteCounters {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;    // the server answered that it has none
  std::uint64_t failures = 0;  // requests that failed, and answers that were refused
  std::uint64_t uploads = 0;
  std::uint64_t upload_drops = 0;  // entries that were not uploaded: too many at once, or no time left at the end
};

// Never fails its caller, and takes no byte on trust. The first failure of a server, of whatever kind, is its last in
// this process: one warning, and it is not asked again. A server that takes no uploads is still asked for entries.
// Every member may be called from any number of threads at the same time.
class RemoteStore {
 public:
  // Opens no connection and no library.
  explicit RemoteStore(RemoteOptions options);

  // Gives uploads that are queued `uploads.drain_time`, then drops them.
  ~RemoteStore() = default;

  // The entry of this key, checked as one from a folder is, or nothing. Waits for the server: for its `total_timeout`
  // at most, once.
  std::optional<Entry> find(const CacheKey& key, llvm::StringRef architecture);

  // Uploads `entry` in the background. Cost here: that of making the file's bytes.
  void publish(const CacheKey& key, const Entry& entry);

  RemoteCounters counters() const;

  // Asks for an entry that is none. Success if the server answers as a cache does. Independent of what failed before.
  // Cost: as find(). Errors: INVALID_ARGUMENT (url), IO.
  static llvm::Error probe(const HttpStoreOptions& server);

 private:
  // Records what has failed in this process, one for each url; lives as long as the process.
  struct Circuit {
    std::atomic<bool> is_off = false;
    std::atomic<bool> takes_no_uploads = false;
  };
  static Circuit& circuit_of(const std::string& url);

  llvm::Expected<std::optional<Entry>> fetch(const CacheKey& key, llvm::StringRef architecture) const;
  std::unique_ptr<EntryStore> server(std::chrono::milliseconds total_timeout) const;
  void upload(const std::string& digest, const std::string& file, std::chrono::milliseconds time_left);
  void switch_off(std::string_view reason);

  RemoteOptions options_;  // as given, but for a url in its normal form
  Circuit* circuit_;
  std::atomic<std::uint64_t> hits_ = 0, misses_ = 0, failures_ = 0, uploads_ = 0, upload_drops_ = 0;
  BackgroundQueue queue_;  // last: its jobs use the others
};

}  // namespace mhcjit::cache
