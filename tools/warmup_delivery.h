// Checks that the kernels of a warm-up are where a later process looks for them: in the cache folder, and on the server
// of MHCJIT_CACHE_REMOTE if that is written to.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cache/http_store.h"
#include "cache/single_flight.h"
#include "runtime/cache_settings.h"
#include "support/error.h"

namespace mhcjit::tools {

class WarmupDelivery {
 public:
  // For a cache folder, with what the environment says of keys and servers. Errors: those of settings_from() and
  // read_cache_settings().
  static llvm::Expected<std::unique_ptr<WarmupDelivery>> open(const std::string& folder);

  // Success if a kernel that is compiled now can arrive: the folder can be made and written, and the server answers as
  // a cache does. Errors: BAD_FILE, IO, INVALID_ARGUMENT (the server's url).
  llvm::Error check() const;

  // Sends the folder's entry of this digest to the server where that has none, and reads it back: once, however many
  // problems share it. Waits for the server, 2 s for each of three requests at most, and after a failure asks it no
  // more. Thread-safe. Errors: IO.
  llvm::Error send(const std::string& digest);

  // Success when a later process finds the entry of this digest in the folder, also where it has no compiler. Errors:
  // BAD_FILE, IO.
  llvm::Error find(const std::string& digest) const;

  // The server's address without a password; "" when nothing is sent to one.
  std::string server_name() const;
  std::int64_t sent() const { return sent_; }

 private:
  explicit WarmupDelivery(runtime::CacheSettings settings);

  // True when it was sent.
  llvm::Expected<bool> send_now(const std::string& digest);

  const runtime::CacheSettings settings_;
  const std::unique_ptr<cache::EntryStore> folder_;
  std::unique_ptr<cache::EntryStore> server_;  // null: nothing is sent
  cache::SingleFlight<std::string, bool> deliveries_;
  std::mutex mutex_;
  std::optional<Failure> server_failure_;
  std::atomic<std::int64_t> sent_ = 0;
};

}  // namespace mhcjit::tools
