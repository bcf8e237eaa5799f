// Any bytes as a server's answer, read as an entry's file with a key and without one. What is accepted is the entry
// that was asked for, gives the same bytes again, and is refused under any other tag.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "../cache/resealed.h"
#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "cache/key_text.h"
#include "cache/signed_store.h"

namespace {

using namespace mhcjit::cache;

constexpr llvm::StringLiteral hmac_key("0123456789abcdef0123456789abcdef");

void require(bool condition) {
  if (!condition) std::abort();
}

bool accepts(const Bytes& file, const CacheKey& key, llvm::StringRef architecture, llvm::StringRef secret) {
  if (llvm::Error error = open_folder_store("", secret.str())->check(file)) {
    require(!llvm::toString(std::move(error)).empty());
    return false;
  }
  llvm::Expected<Entry> entry = read_entry_file(file, key, architecture);
  if (!entry) {
    require(!llvm::toString(entry.takeError()).empty());
    return false;
  }
  require(entry->key_text == key.text() && entry->architecture == architecture);
  require(encode(*entry) == without_tag(file));
  require(llvm::cantFail(make_entry_file(*entry, key)) == without_tag(file));
  return true;
}

// The key that an entry says it is for, so that the checks behind that of the key are reached.
CacheKey key_of(const Bytes& bytes) {
  CacheKey key;
  llvm::Expected<Entry> entry = decode(bytes);
  if (!entry) {
    llvm::consumeError(entry.takeError());
    return key;
  }
  auto fields = parse_key_text(entry->key_text);
  if (!fields) {
    llvm::consumeError(fields.takeError());
    return key;
  }
  for (std::size_t i = 1; i < fields->size(); ++i) key.add((*fields)[i].name, (*fields)[i].value);
  return key;
}

void check(const std::string& file) {
  const std::string bytes = without_tag(file).str();
  const CacheKey key = key_of(bytes);
  for (const char* architecture : {"sm_90a", "sm_80"}) {
    const bool sound = accepts(file, key, architecture, "");
    accepts(file, key, architecture, hmac_key);
    require(accepts(bytes + tag_of(bytes, hmac_key), key, architecture, hmac_key) == sound);
    require(!accepts(bytes, key, architecture, hmac_key));
    require(!accepts(bytes + tag_of(bytes, "another"), key, architecture, hmac_key));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  check(bytes);
  // Without this a checksum stands between the fuzzer and everything behind it.
  if (size >= 56) check(resealed(bytes));
  return 0;
}
