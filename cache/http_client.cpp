#include "cache/http_client.h"

#include <dlfcn.h>

#include <csignal>
#include <map>
#include <memory>
#include <mutex>
#include <new>

#include "cache/without_signal.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

constexpr std::size_t max_header_bytes = std::size_t{64} << 10;

struct Received {
  std::string body;
  std::size_t max_body_bytes = 0;
  std::size_t header_bytes = 0;
  bool too_long = false;
};

// Both answer a number other than `count` to end the transfer.
std::size_t take_body(char* bytes, std::size_t, std::size_t count, void* into) {
  auto& received = *static_cast<Received*>(into);
  if (count > received.max_body_bytes - received.body.size()) {
    received.too_long = true;
    return 0;
  }
  try {
    received.body.append(bytes, count);
  } catch (const std::bad_alloc&) {
    return 0;  // libcurl is C: nothing may be thrown through it
  }
  return count;
}

std::size_t take_header(char*, std::size_t, std::size_t count, void* into) {
  auto& received = *static_cast<Received*>(into);
  received.header_bytes += count;
  return received.header_bytes > max_header_bytes ? 0 : count;
}

// One request of a libcurl.
class Request {
 public:
  explicit Request(const CurlFunctions& curl) : curl_(curl), handle_(curl.curl_easy_init()) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  ~Request() {
    if (handle_ != nullptr) curl_.curl_easy_cleanup(handle_);
    curl_.curl_slist_free_all(headers_);
  }

  template <typename Value>
  void set(CURLoption option, Value value) {
    if (result_ == CURLE_OK && handle_ != nullptr) result_ = curl_.curl_easy_setopt(handle_, option, value);
  }

  void add_header(const char* line) {
    curl_slist* longer = curl_.curl_slist_append(headers_, line);
    if (longer == nullptr)
      result_ = CURLE_OUT_OF_MEMORY;
    else
      headers_ = longer;
  }

  void set_common(const std::string& url, const HttpOptions& options) {
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS, long{CURLPROTO_HTTP | CURLPROTO_HTTPS});
    set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_PROXY, "");
    if (!options.ca_file.empty()) set(CURLOPT_CAINFO, options.ca_file.c_str());
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(options.total_timeout.count()));
    set(CURLOPT_USERAGENT, "mhcjit");
    set(CURLOPT_ERRORBUFFER, error_);
    received_.max_body_bytes = options.max_body_bytes;
    set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(options.max_body_bytes));
    set(CURLOPT_WRITEFUNCTION, &take_body);
    set(CURLOPT_WRITEDATA, static_cast<void*>(&received_));
    set(CURLOPT_HEADERFUNCTION, &take_header);
    set(CURLOPT_HEADERDATA, static_cast<void*>(&received_));
    // Newer than the oldest libcurl that will do; without it, a name look-up that hangs is waited for at the end.
    if (handle_ != nullptr) curl_.curl_easy_setopt(handle_, static_cast<CURLoption>(CURLOPT_QUICK_EXIT), 1L);
  }

  void set_put(llvm::StringRef body) {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    set(CURLOPT_POSTFIELDS, body.begin());
    set(CURLOPT_CUSTOMREQUEST, "PUT");
    add_header("Content-Type: application/octet-stream");
    // No question before the body, whose answer would be waited for.
    add_header("Expect:");
    set(CURLOPT_HTTPHEADER, headers_);
  }

  llvm::Expected<HttpResponse> perform(std::string_view method) {
    if (handle_ == nullptr) return make_error(MHCJIT_ERROR_IO, "{} failed: out of memory", method);
    if (result_ == CURLE_OK) {
      // TLS libraries write to sockets in a way that raises it when the server has gone.
      const WithoutSignal guard(SIGPIPE);
      result_ = curl_.curl_easy_perform(handle_);
    }
    HttpResponse response;
    if (result_ == CURLE_OK) result_ = curl_.curl_easy_getinfo(handle_, CURLINFO_RESPONSE_CODE, &response.status);
    if (result_ == CURLE_OK) {
      response.body = std::move(received_.body);
      return response;
    }
    if (result_ == CURLE_FILESIZE_EXCEEDED || received_.too_long)
      return make_error(MHCJIT_ERROR_IO, "{} failed: the response has more than {} bytes", method,
                        received_.max_body_bytes);
    if (received_.header_bytes > max_header_bytes)
      return make_error(MHCJIT_ERROR_IO, "{} failed: the response's header has more than {} bytes", method,
                        max_header_bytes);
    return make_error(MHCJIT_ERROR_IO, "{} failed: {}", method,
                      error_[0] != '\0' ? error_ : curl_.curl_easy_strerror(result_));
  }

 private:
  const CurlFunctions& curl_;
  CURL* const handle_;
  curl_slist* headers_ = nullptr;
  CURLcode result_ = CURLE_OK;
  Received received_;
  char error_[CURL_ERROR_SIZE] = {};
};

// Debian has one for each TLS library.
constexpr const char* default_names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

void* open_library(const std::string& path) {
  if (!path.empty()) return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* handle = nullptr;
  for (const char* name : default_names) {
    if (handle == nullptr) handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  return handle;
}

}  // namespace

llvm::Expected<const HttpClient*> HttpClient::load(const std::string& path) {
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::string, std::unique_ptr<HttpClient>>;  // must outlive static destruction
  const std::lock_guard lock(mutex);
  if (const auto found = loaded.find(path); found != loaded.end()) return found->second.get();

  const std::string name = path.empty() ? default_names[0] : path;
  void* handle = open_library(path);
  if (handle == nullptr)
    return make_error(MHCJIT_ERROR_IO, "{} cannot be opened ({}); install libcurl4", name, dlerror());
  auto client = std::make_unique<HttpClient>();
#define MHCJIT_FIND(name_of)                                                         \
  client->name_of = reinterpret_cast<decltype(&::name_of)>(dlsym(handle, #name_of)); \
  if (client->name_of == nullptr)                                                    \
    return make_error(MHCJIT_ERROR_IO, "{} is no libcurl: it has no {}; install libcurl4", name, #name_of);
  MHCJIT_CURL_FUNCTIONS(MHCJIT_FIND)
#undef MHCJIT_FIND
  if (const CURLcode result = client->curl_global_init(CURL_GLOBAL_DEFAULT); result != CURLE_OK)
    return make_error(MHCJIT_ERROR_IO, "{} cannot be used: {}", name, client->curl_easy_strerror(result));
  // Otherwise a name look-up ends when it likes, whatever the time-outs say.
  if ((client->curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
    return make_error(MHCJIT_ERROR_IO,
                      "{} looks names up without a time-out; install a libcurl built with a threaded "
                      "resolver",
                      name);
  return loaded.emplace(path, std::move(client)).first->second.get();
}

llvm::Expected<HttpResponse> HttpClient::get(const std::string& url, const HttpOptions& options) const {
  Request request(*this);
  request.set_common(url, options);
  return request.perform("GET");
}

llvm::Expected<HttpResponse> HttpClient::put(const std::string& url, llvm::StringRef body,
                                             const HttpOptions& options) const {
  Request request(*this);
  request.set_common(url, options);
  request.set_put(body);
  return request.perform("PUT");
}

}  // namespace mhcjit::cache
