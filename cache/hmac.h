// Message authentication with a secret key: HMAC-SHA256 (RFC 2104), and the file that holds the key.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

using Mac = std::array<std::uint8_t, 32>;

// Cost: that of SHA-256, about 3 us a KB.
Mac hmac_sha256(llvm::StringRef key, llvm::StringRef message);

// True if two strings are the same. The time depends on their lengths alone.
bool same_bytes(llvm::StringRef left, llvm::StringRef right);

// The key in the file `path`: its bytes, less one newline at their end. The file is regular (not a link), 32 to 4096
// bytes long, owned by this user or root, and open to its owner alone (chmod 600). Errors: BAD_FILE, IO.
llvm::Expected<std::string> read_hmac_key(const std::string& path);

}  // namespace mhcjit::cache
