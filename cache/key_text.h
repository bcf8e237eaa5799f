// Reads a key's text (FORMAT.md) back into its fields.
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

namespace mhcjit::cache {

struct KeyField {
  std::string name;
  std::string value;
};

// The fields that CacheKey::add() was given, in their order. Reads any bytes safely. Errors: BAD_FILE with the byte at
// which the text stops to be a key's.
llvm::Expected<std::vector<KeyField>> parse_key_text(llvm::StringRef text);

// The value of the first field of this name, or "".
llvm::StringRef find_field(const std::vector<KeyField>& fields, llvm::StringRef name);

}  // namespace mhcjit::cache
