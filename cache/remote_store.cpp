#include "cache/remote_store.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "cache/disk_cache.h"
#include "cache/entry_file.h"
#include "cache/remote_url.h"
#include "cache/signed_store.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::cache {

RemoteStore::RemoteStore(RemoteOptions options) : options_(std::move(options)), queue_(options_.uploads) {
  llvm::Expected<std::string> url = check_remote_url(options_.server.url);
  if (url) options_.server.url = *url;
  circuit_ = &circuit_of(options_.server.url);
  if (!url) {
    ++failures_;
    switch_off(take_failure(url.takeError()).text);
  }
}

std::optional<Entry> RemoteStore::find(const CacheKey& key, llvm::StringRef architecture) {
  if (circuit_->is_off) return std::nullopt;
  llvm::Expected<std::optional<Entry>> entry = fetch(key, architecture);
  if (!entry) {
    const Failure failure = take_failure(entry.takeError());
    ++failures_;
    if (failure.status == MHCJIT_ERROR_BAD_FILE)
      trace(options_.log, {.event = "corrupt", .digest = key.digest(), .tier = to_string(Tier::remote)});
    switch_off(failure.text);
    return std::nullopt;
  }
  ++(*entry ? hits_ : misses_);
  return std::move(*entry);
}

void RemoteStore::publish(const CacheKey& key, const Entry& entry) {
  if (options_.read_only || circuit_->is_off || circuit_->takes_no_uploads) return;
  llvm::Expected<std::string> file = make_entry_file(entry, key);
  if (!file) {
    // The writable folder's publish has refused it too, and said so.
    llvm::consumeError(file.takeError());
    ++upload_drops_;
    return;
  }
  const std::size_t bytes = file->size();
  auto job = [this, digest = key.digest(), file = std::move(*file)](std::chrono::milliseconds time_left) {
    try {
      upload(digest, file, time_left);
    } catch (const std::bad_alloc&) {
      ++upload_drops_;
    }
  };
  const bool queued = queue_.push(std::move(job), bytes);
  if (!queued) ++upload_drops_;
}

RemoteCounters RemoteStore::counters() const { return {hits_, misses_, failures_, uploads_, upload_drops_}; }

RemoteStore::Circuit& RemoteStore::circuit_of(const std::string& url) {
  static std::mutex mutex;
  static auto& circuits = *new std::map<std::string, std::unique_ptr<Circuit>>;  // must outlive static destruction
  const std::lock_guard lock(mutex);
  std::unique_ptr<Circuit>& circuit = circuits[url];
  if (circuit == nullptr) circuit = std::make_unique<Circuit>();
  return *circuit;
}

llvm::Error RemoteStore::probe(const HttpStoreOptions& server) {
  HttpStoreOptions checked = server;
  llvm::Expected<std::string> url = check_remote_url(server.url);
  if (!url) return url.takeError();
  checked.url = *url;
  llvm::Expected<std::optional<Bytes>> file = http_store(std::move(checked))->read(std::string(64, '0'));
  if (!file) return file.takeError();
  if (!*file) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO,
                    "GET of an entry that nobody can have is answered with {} bytes, it should be with "
                    "status 404 (is it a page of a web server or a proxy?)",
                    (*file)->size());
}

std::unique_ptr<EntryStore> RemoteStore::server(std::chrono::milliseconds total_timeout) const {
  HttpStoreOptions server = options_.server;
  server.total_timeout = total_timeout;
  return signed_store(http_store(std::move(server)), options_.hmac_key);
}

llvm::Expected<std::optional<Entry>> RemoteStore::fetch(const CacheKey& key, llvm::StringRef architecture) const {
  llvm::Expected<std::optional<Bytes>> file = server(options_.server.total_timeout)->read(key.digest());
  if (!file) return file.takeError();
  if (!*file) return std::nullopt;
  llvm::Expected<Entry> entry = read_entry_file(**file, key, architecture);
  if (!entry) return entry.takeError();
  return std::move(*entry);
}

void RemoteStore::upload(const std::string& digest, const std::string& file, std::chrono::milliseconds time_left) {
  if (circuit_->is_off || circuit_->takes_no_uploads) {
    ++upload_drops_;
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::milliseconds timeout = std::min(options_.server.total_timeout, time_left);
  llvm::Error error = server(timeout)->write(digest, file);
  if (!error) {
    ++uploads_;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    trace(options_.log,
          {.event = "upload", .digest = digest, .tier = to_string(Tier::remote), .milliseconds = took.count()});
    return;
  }
  const Failure failure = take_failure(std::move(error));
  if (failure.status == MHCJIT_ERROR_INVALID_ARGUMENT) {
    ++failures_;
    if (!circuit_->takes_no_uploads.exchange(true))
      options_.log(MHCJIT_LOG_WARNING,
                   fmt::format("remote cache '{}' takes no uploads, this process makes no more: {}; allow PUT there, "
                               "or set MHCJIT_CACHE_REMOTE_READ_ONLY=1",
                               without_password(options_.server.url), failure.text));
  } else if (timeout < options_.server.total_timeout) {
    // A request that was cut short by the end of the process's work says nothing about the server.
    ++upload_drops_;
  } else {
    ++failures_;
    switch_off(failure.text);
  }
}

void RemoteStore::switch_off(std::string_view reason) {
  if (circuit_->is_off.exchange(true)) return;
  options_.log(MHCJIT_LOG_WARNING, fmt::format("remote cache '{}' is not used any more by this process: {}",
                                               without_password(options_.server.url), reason));
}

}  // namespace mhcjit::cache
