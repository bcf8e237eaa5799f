#include "tools/warmup_delivery.h"

#include <utility>

#include <llvm/ADT/STLExtras.h>

#include "cache/compiler_record.h"
#include "cache/folder_store.h"
#include "cache/remote_store.h"
#include "cache/remote_url.h"
#include "cache/replace_file.h"
#include "cache/signed_store.h"
#include "cache/stored_entry.h"
#include "runtime/settings.h"

namespace mhcjit::tools {

llvm::Expected<std::unique_ptr<WarmupDelivery>> WarmupDelivery::open(const std::string& folder) {
  mhcjit_engine_options options = {};
  options.cache_dir = folder.c_str();
  auto settings = runtime::settings_from(options);
  if (!settings) return settings.takeError();
  auto cache = runtime::read_cache_settings(*settings);
  if (!cache) return cache.takeError();
  return std::unique_ptr<WarmupDelivery>(new WarmupDelivery(std::move(*cache)));
}

WarmupDelivery::WarmupDelivery(runtime::CacheSettings settings)
    : settings_(std::move(settings)),
      folder_(cache::open_folder_store(settings_.root, settings_.tiers.folders.hmac_key)) {
  const cache::RemoteOptions& remote = settings_.tiers.remote;
  if (remote.server.url.empty() || remote.read_only) return;
  cache::HttpStoreOptions server = remote.server;
  // One that is none is check()'s to say.
  llvm::Expected<std::string> url = cache::check_remote_url(server.url);
  if (url)
    server.url = *url;
  else
    llvm::consumeError(url.takeError());
  server_ = cache::signed_store(cache::http_store(std::move(server)), settings_.tiers.folders.hmac_key);
}

llvm::Error WarmupDelivery::check() const {
  cache::FileOps& ops = cache::FileOps::system();
  const std::string& root = settings_.root;
  llvm::Error error = cache::open_folder(ops, root, cache::trust_with(settings_.tiers.folders.hmac_key));
  if (!error) error = cache::probe_folder(ops, root);
  if (error) {
    const Failure failure = take_failure(std::move(error));
    return make_error(failure.status,
                      "nothing is compiled, since it is not written to the cache folder '{}': {}; make it usable, or "
                      "name another with --cache-dir",
                      root, failure.text);
  }
  if (server_ == nullptr) return llvm::Error::success();
  if (llvm::Error unusable = cache::RemoteStore::probe(settings_.tiers.remote.server)) {
    const Failure failure = take_failure(std::move(unusable));
    return make_error(failure.status,
                      "nothing is compiled, since it cannot be sent to the remote cache '{}': {}; repair it, or set "
                      "MHCJIT_CACHE_REMOTE_READ_ONLY=1 to warm the folder alone",
                      server_name(), failure.text);
  }
  return llvm::Error::success();
}

llvm::Error WarmupDelivery::send(const std::string& digest) {
  if (server_ == nullptr) return llvm::Error::success();
  {
    const std::lock_guard lock(mutex_);
    if (server_failure_) return make_error(server_failure_->status, server_failure_->text);
  }
  llvm::Expected<bool> sent = deliveries_.get_or_create(digest, [&] {
    llvm::Expected<bool> now = send_now(digest);
    if (now && *now) ++sent_;
    return now;
  });
  if (sent) return llvm::Error::success();
  const std::lock_guard lock(mutex_);
  server_failure_ = {MHCJIT_ERROR_IO,
                     fmt::format("the kernel is in the cache folder and not on the remote cache '{}': {}; allow PUT "
                                 "there and run the same command again, or set MHCJIT_CACHE_REMOTE_READ_ONLY=1",
                                 server_name(), take_failure(sent.takeError()).text)};
  return make_error(server_failure_->status, server_failure_->text);
}

llvm::Expected<bool> WarmupDelivery::send_now(const std::string& digest) {
  auto there = cache::read_stored_entry(*server_, digest);
  if (there && *there) return false;
  // Bad bytes are replaced.
  if (!there) {
    const Failure failure = take_failure(there.takeError());
    if (failure.status != MHCJIT_ERROR_BAD_FILE) return make_error(failure.status, failure.text);
  }
  auto mine = cache::read_stored_entry(*folder_, digest);
  if (!mine) return mine.takeError();
  if (!*mine) return make_error(MHCJIT_ERROR_IO, "the cache folder '{}' has no entry {}", settings_.root, digest);
  if (llvm::Error error = server_->write(digest, (*mine)->bytes)) return error;
  there = cache::read_stored_entry(*server_, digest);
  if (!there) return there.takeError();
  if (*there) return true;
  return make_error(MHCJIT_ERROR_IO, "PUT is answered with success, and GET finds nothing");
}

llvm::Error WarmupDelivery::find(const std::string& digest) const {
  auto entry = cache::read_stored_entry(*folder_, digest);
  if (!entry) return entry.takeError();
  if (!*entry)
    return make_error(MHCJIT_ERROR_IO,
                      "the kernel is not in the cache folder '{}' any more, digest {}; run the same "
                      "command again",
                      settings_.root, digest);
  const std::string compiler = cache::find_field((*entry)->fields, "compiler").str();
  if (llvm::is_contained(cache::read_compiler_record(settings_.root), compiler)) return llvm::Error::success();
  return make_error(MHCJIT_ERROR_IO,
                    "the kernel is in the cache folder '{}', whose {} does not name its compiler, so that a machine "
                    "without NVRTC does not find it; make that a file that can be replaced",
                    settings_.root, cache::compiler_record_name.str());
}

std::string WarmupDelivery::server_name() const {
  return server_ == nullptr ? "" : cache::without_password(settings_.tiers.remote.server.url);
}

}  // namespace mhcjit::tools
