// HTTP requests with small bodies, through libcurl, which is opened when it is first needed and never linked: a host
// that names no server needs none.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

// One option serves every version; newer headers warn of it.
#define CURL_DISABLE_DEPRECATION
#include <curl/curl.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

#define MHCJIT_CURL_FUNCTIONS(F) \
  F(curl_global_init)            \
  F(curl_version_info)           \
  F(curl_easy_init)              \
  F(curl_easy_setopt)            \
  F(curl_easy_perform)           \
  F(curl_easy_getinfo)           \
  F(curl_easy_cleanup)           \
  F(curl_easy_strerror)          \
  F(curl_slist_append)           \
  F(curl_slist_free_all)

struct CurlFunctions {
#define MHCJIT_MEMBER(name) decltype(&::name) name = nullptr;
  MHCJIT_CURL_FUNCTIONS(MHCJIT_MEMBER)
#undef MHCJIT_MEMBER
};

struct HttpOptions {
  std::chrono::milliseconds connect_timeout{500};
  std::chrono::milliseconds total_timeout{2000};  // name look-up, connection and transfer
  std::size_t max_body_bytes = 0;                 // of the response; more is an error before it is held
  std::string ca_file = {};                       // whose certificates are trusted; "": the system's
};

struct HttpResponse {
  long status = 0;
  std::string body;
};

// One libcurl, kept open while the process lives. A request is a connection of its own, shares nothing with another and
// may be made by any thread, also in a child after a fork. Only http and https, version 1.1; certificates are checked;
// no redirect is followed, no proxy, .netrc or cookie of the environment used, no compressed body asked for. Errors of
// every member: IO, without the URL's user and password.
class HttpClient : public CurlFunctions {
 public:
  // The first success for a file serves the whole process. `path`: a libcurl.so of version 7.56 or newer; "": that of
  // the loader's path.
  static llvm::Expected<const HttpClient*> load(const std::string& path);

  // Whatever the status is, a whole response is a success.
  llvm::Expected<HttpResponse> get(const std::string& url, const HttpOptions& options) const;
  llvm::Expected<HttpResponse> put(const std::string& url, llvm::StringRef body, const HttpOptions& options) const;
};

}  // namespace mhcjit::cache
