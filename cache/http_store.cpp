#include "cache/http_store.h"

#include <string_view>
#include <utility>

#include "cache/entry_file.h"
#include "cache/http_client.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

constexpr long http_ok = 200, http_created = 201, http_no_content = 204, http_not_found = 404;

// The longest answer to an upload; nobody reads it.
constexpr std::size_t max_answer_bytes = std::size_t{64} << 10;

llvm::Error unexpected_status(std::string_view method, long status, std::string_view expected) {
  const bool redirects = status >= 300 && status < 400, refuses = status >= 400 && status < 500;
  return make_error(method == "PUT" && refuses ? MHCJIT_ERROR_INVALID_ARGUMENT : MHCJIT_ERROR_IO,
                    "{} is answered with status {}, it should be {}{}", method, status, expected,
                    redirects ? " (redirects are not followed)" : "");
}

class HttpStore final : public EntryStore {
 public:
  explicit HttpStore(HttpStoreOptions options) : options_(std::move(options)) {}

  llvm::Expected<std::optional<Bytes>> read(llvm::StringRef digest) override {
    llvm::Expected<const HttpClient*> http = HttpClient::load(options_.libcurl_path);
    if (!http) return http.takeError();
    llvm::Expected<HttpResponse> response = (*http)->get(address_of(digest), request(max_entry_file_bytes));
    if (!response) return response.takeError();
    if (response->status == http_not_found) return std::nullopt;
    if (response->status != http_ok) return unexpected_status("GET", response->status, "200 or 404");
    return Bytes(std::move(response->body));
  }

  llvm::Error write(llvm::StringRef digest, llvm::StringRef file) override {
    llvm::Expected<const HttpClient*> http = HttpClient::load(options_.libcurl_path);
    if (!http) return http.takeError();
    llvm::Expected<HttpResponse> response = (*http)->put(address_of(digest), file, request(max_answer_bytes));
    if (!response) return response.takeError();
    const long status = response->status;
    if (status == http_ok || status == http_created || status == http_no_content) return llvm::Error::success();
    return unexpected_status("PUT", status, "200, 201 or 204");
  }

 private:
  std::string address_of(llvm::StringRef digest) const { return options_.url + "/" + digest.str(); }
  HttpOptions request(std::size_t max_body_bytes) const {
    return {options_.connect_timeout, options_.total_timeout, max_body_bytes, options_.ca_file};
  }

  const HttpStoreOptions options_;
};

}  // namespace

std::unique_ptr<EntryStore> http_store(HttpStoreOptions options) {
  return std::make_unique<HttpStore>(std::move(options));
}

}  // namespace mhcjit::cache
