#include "runtime/cache_settings.h"

#include "cache/hmac.h"
#include "support/error.h"

namespace mhcjit::runtime {

llvm::Expected<CacheSettings> read_cache_settings(const Settings& settings) {
  for (const cache::PassedOver& place : settings.passed_over) settings.log(MHCJIT_LOG_WARNING, to_string(place));
  std::string key;
  if (!settings.hmac_key_file.empty()) {
    llvm::Expected<std::string> read = cache::read_hmac_key(settings.hmac_key_file);
    if (!read) {
      const Failure failure = take_failure(read.takeError());
      return make_error(failure.status,
                        "no cache is used, compiled kernels are kept in memory only: {}; make the key file usable, or "
                        "name none in MHCJIT_CACHE_KEY_FILE",
                        failure.text);
    }
    key = std::move(*read);
  }
  return CacheSettings{settings.cache_root,
                       {.folders = {.hmac_key = std::move(key), .log = settings.log},
                        .remote = {.server = {.url = settings.remote_url, .ca_file = settings.remote_ca_file},
                                   .read_only = settings.remote_read_only},
                        .read_only_roots = settings.read_only_roots,
                        .installed_root = settings.installed_root,
                        .runtime_folder = settings.runtime_folder}};
}

CacheSettings cache_settings(const Settings& settings) {
  llvm::Expected<CacheSettings> read = read_cache_settings(settings);
  if (read) return std::move(*read);
  settings.log(MHCJIT_LOG_WARNING, take_failure(read.takeError()).text);
  return {"", {.folders = {.log = settings.log}}};
}

}  // namespace mhcjit::runtime
