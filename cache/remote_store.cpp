#include "cache/remote_store.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "cache/disk_cache.h"
#include "cache/entry_file.h"
#include "cache/http_client.h"
#include "cache/remote_url.h"
#include "support/error.h"
#include "support/trace.h"

namespace mhcjit::cache {
namespace {

constexpr long http_ok = 200, http_created = 201, http_no_content = 204, http_not_found = 404;

// What a server may say to an upload; nobody reads it.
constexpr std::size_t max_answer_bytes = std::size_t{64} << 10;

llvm::Error unexpected_status(std::string_view method, long status, std::string_view expected) {
  const bool redirects = status >= 300 && status < 400;
  return make_error(MHCJIT_ERROR_IO, "{} is answered with status {}, it should be {}{}", method, status, expected,
                    redirects ? " (redirects are not followed)" : "");
}

// What the server has at `address`, whatever it is, or nothing.
llvm::Expected<std::optional<std::string>> get_file(const RemoteOptions& options, const std::string& address) {
  llvm::Expected<const HttpClient*> http = HttpClient::load(options.libcurl_path);
  if (!http) return http.takeError();
  const HttpOptions request = {options.connect_timeout, options.total_timeout, max_entry_file_bytes, options.ca_file};
  llvm::Expected<HttpResponse> response = (*http)->get(address, request);
  if (!response) return response.takeError();
  if (response->status == http_not_found) return std::nullopt;
  if (response->status != http_ok) return unexpected_status("GET", response->status, "200 or 404");
  return std::move(response->body);
}

}  // namespace

RemoteStore::RemoteStore(RemoteOptions options) : options_(std::move(options)), queue_(options_.uploads) {
  llvm::Expected<std::string> url = check_remote_url(options_.url);
  url_ = url ? *url : options_.url;
  circuit_ = &circuit_of(url_);
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
  llvm::Expected<std::string> file = make_entry_file(entry, key, options_.hmac_key);
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

llvm::Error RemoteStore::probe(const RemoteOptions& options) {
  llvm::Expected<std::string> url = check_remote_url(options.url);
  if (!url) return url.takeError();
  return get_file(options, *url + "/" + std::string(64, '0')).takeError();
}

llvm::Expected<std::optional<Entry>> RemoteStore::fetch(const CacheKey& key, llvm::StringRef architecture) const {
  llvm::Expected<std::optional<std::string>> file = get_file(options_, address_of(key.digest()));
  if (!file) return file.takeError();
  if (!*file) return std::nullopt;
  llvm::Expected<Entry> entry = read_entry_file(Bytes(std::move(**file)), key, architecture, options_.hmac_key);
  if (!entry) return entry.takeError();
  return std::move(*entry);
}

void RemoteStore::upload(const std::string& digest, const std::string& file, std::chrono::milliseconds time_left) {
  if (circuit_->is_off || circuit_->takes_no_uploads) {
    ++upload_drops_;
    return;
  }
  const auto start = std::chrono::steady_clock::now();
  const HttpOptions request = {options_.connect_timeout, std::min(options_.total_timeout, time_left), max_answer_bytes,
                               options_.ca_file};
  llvm::Expected<const HttpClient*> http = HttpClient::load(options_.libcurl_path);
  llvm::Expected<HttpResponse> response =
      http ? (*http)->put(address_of(digest), file, request) : llvm::Expected<HttpResponse>(http.takeError());
  if (!response) {
    const std::string reason = take_failure(response.takeError()).text;
    // A request that was cut short by the end of the process's work says nothing about the server.
    if (request.total_timeout < options_.total_timeout) {
      ++upload_drops_;
      return;
    }
    ++failures_;
    switch_off(reason);
    return;
  }
  const long status = response->status;
  if (status == http_ok || status == http_created || status == http_no_content) {
    ++uploads_;
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    trace(options_.log,
          {.event = "upload", .digest = digest, .tier = to_string(Tier::remote), .milliseconds = took.count()});
    return;
  }
  ++failures_;
  const std::string reason = take_failure(unexpected_status("PUT", status, "200, 201 or 204")).text;
  const bool may_not_write = status >= 400 && status < 500;
  if (!may_not_write) {
    switch_off(reason);
  } else if (!circuit_->takes_no_uploads.exchange(true)) {
    options_.log(MHCJIT_LOG_WARNING, fmt::format("remote cache '{}' takes no uploads, this process makes no more: {}; "
                                                 "allow PUT there, or set MHCJIT_CACHE_REMOTE_READ_ONLY=1",
                                                 without_password(url_), reason));
  }
}

void RemoteStore::switch_off(std::string_view reason) {
  if (circuit_->is_off.exchange(true)) return;
  options_.log(MHCJIT_LOG_WARNING, fmt::format("remote cache '{}' is not used any more by this process: {}",
                                               without_password(url_), reason));
}

}  // namespace mhcjit::cache
