// The entries of an HTTP server: GET and PUT of "<url>/<digest>", as WebDAV servers and bazel-remote's /ac/ speak it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "cache/entry_store.h"

namespace mhcjit::cache {

struct HttpStoreOptions {
  std::string url;                // as check_remote_url() returns it
  std::string ca_file = {};       // whose certificates https trusts; "": the system's
  std::string libcurl_path = {};  // "": the loader's
  std::chrono::milliseconds connect_timeout{500};
  std::chrono::milliseconds total_timeout{2000};  // of a request
};

// Opens no connection and no library. Each call is a request, and waits for `total_timeout` at most. Errors: IO when
// there is no answer, or one that no cache gives; of a write, INVALID_ARGUMENT when the server refuses it (status 4xx).
std::unique_ptr<EntryStore> http_store(HttpStoreOptions options);

}  // namespace mhcjit::cache
