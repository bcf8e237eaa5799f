#include "cache/remote_url.h"

#include <algorithm>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>

#include "support/error.h"

namespace mhcjit::cache {
namespace {

constexpr std::size_t max_url_bytes = 2000;

bool is_allowed(char c) { return llvm::isPrint(c) && c != ' ' && c != '?' && c != '#'; }

// The text before the first slash behind the scheme, or from the start if there is no scheme.
llvm::StringRef authority_of(llvm::StringRef url) {
  const std::size_t scheme = url.find("://");
  return (scheme == llvm::StringRef::npos ? url : url.drop_front(scheme + 3)).split('/').first;
}

bool names_a_host(llvm::StringRef url) {
  const llvm::StringRef authority = authority_of(url);
  const llvm::StringRef host = authority.contains('@') ? authority.rsplit('@').second : authority;
  return !host.empty() && !host.starts_with(":");
}

}  // namespace

llvm::Expected<std::string> check_remote_url(llvm::StringRef url) {
  const bool has_scheme = url.starts_with("http://") || url.starts_with("https://");
  if (!has_scheme || url.size() > max_url_bytes || !llvm::all_of(url, is_allowed) || !names_a_host(url)) {
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                      "remote_url is '{}', allowed: http://HOST[:PORT]/PATH or https://, printable ASCII without "
                      "spaces, ? and #, at most {} bytes",
                      without_password(url.take_front(max_url_bytes)), max_url_bytes);
  }
  return url.rtrim('/').str();
}

std::string without_password(llvm::StringRef url) {
  std::string text = url.str();
  const llvm::StringRef authority = authority_of(text);
  if (const std::size_t at = authority.rfind('@'); at != llvm::StringRef::npos)
    text.replace(static_cast<std::size_t>(authority.data() - text.data()), at, "...");
  std::replace_if(text.begin(), text.end(), [](char c) { return !llvm::isPrint(c); }, '?');
  return text;
}

}  // namespace mhcjit::cache
