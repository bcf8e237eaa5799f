// A cache entry is looked up by its key: a readable list of fields and its SHA-256. The text's format is in FORMAT.md.
#pragma once

#include <string>
#include <string_view>

#include <llvm/Support/SHA256.h>

namespace mhcjit::cache {

// Fields are part of the key in the order in which they are added. One thread at a time may add; reading is free for
// all. Hashing happens in add(), so digest() costs under a microsecond however long the text is.
class CacheKey {
 public:
  // Starts with the field "schema".
  CacheKey();

  // Any bytes are allowed in both: no two different lists of fields have the same text.
  void add(std::string_view field, std::string_view value);

  const std::string& text() const { return text_; }

  // 64 lower-case hexadecimal digits.
  std::string digest() const;

 private:
  std::string text_;
  llvm::SHA256 hash_;
};

}  // namespace mhcjit::cache
