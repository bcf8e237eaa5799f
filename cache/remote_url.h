// The address of a remote cache: below it, an entry is "<url>/<digest>".
#pragma once

#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

// `url` without slashes at its end. Allowed: http:// or https://, an optional user:password@, a host, an optional port,
// a path; printable ASCII without spaces, ? and #; 2000 bytes. Errors: INVALID_ARGUMENT, without user and password.
llvm::Expected<std::string> check_remote_url(llvm::StringRef url);

// `url` for a log: user and password are "...@", and what is not printable ASCII is "?".
std::string without_password(llvm::StringRef url);

}  // namespace mhcjit::cache
