#include "cache/cache_key.h"

#include <fmt/format.h>
#include <llvm/ADT/StringExtras.h>

namespace mhcjit::cache {

CacheKey::CacheKey() { add("schema", "3"); }

void CacheKey::add(std::string_view field, std::string_view value) {
  const std::string line = fmt::format("{},{} {}={}\n", field.size(), value.size(), field, value);
  text_ += line;
  hash_.update(line);
}

std::string CacheKey::digest() const {
  llvm::SHA256 copy = hash_;
  return llvm::toHex(copy.final(), /*LowerCase=*/true);
}

}  // namespace mhcjit::cache
