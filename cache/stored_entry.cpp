#include "cache/stored_entry.h"

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/StringExtras.h>
#include <llvm/Support/SHA256.h>

#include "cache/entry_file.h"
#include "cache/folder_store.h"
#include "support/error.h"

namespace mhcjit::cache {
namespace {

constexpr std::size_t digest_digits = 64;

std::string digest_of(llvm::StringRef key_text) {
  return llvm::toHex(llvm::SHA256::hash(llvm::arrayRefFromStringRef(key_text)), /*LowerCase=*/true);
}

bool is_lower_hex(char c) { return llvm::isDigit(c) || (c >= 'a' && c <= 'f'); }

}  // namespace

std::optional<std::string> digest_of_name(llvm::StringRef name) {
  if (!name.consume_back(entry_extension) || name.size() != digest_digits || !llvm::all_of(name, is_lower_hex)) {
    return std::nullopt;
  }
  return name.str();
}

llvm::Expected<StoredEntry> check_stored_entry(Bytes bytes, llvm::StringRef digest) {
  llvm::Expected<Entry> entry = decode(bytes.part(without_tag(bytes)));
  if (!entry) return entry.takeError();
  if (const std::string actual = digest_of(entry->key_text); actual != digest) {
    return make_error(MHCJIT_ERROR_BAD_FILE, "cache entry: digest of the key text is {}, it should be {}", actual,
                      digest.str());
  }
  llvm::Expected<std::vector<KeyField>> fields = parse_key_text(entry->key_text);
  if (!fields) return fields.takeError();
  if (const llvm::StringRef named = find_field(*fields, "architecture"); named != entry->architecture) {
    return make_error(MHCJIT_ERROR_BAD_FILE, "cache entry: architecture is '{}', it should be the key's '{}'",
                      entry->architecture, named.str());
  }
  if (llvm::Error error = check_cubins(*entry)) return error;
  return StoredEntry{std::move(bytes), std::move(*entry), std::move(*fields)};
}

llvm::Expected<std::optional<StoredEntry>> read_stored_entry(EntryStore& store, llvm::StringRef digest) {
  auto bytes = store.read(digest);
  if (!bytes) return bytes.takeError();
  if (!*bytes) return std::nullopt;
  llvm::Expected<StoredEntry> entry = check_stored_entry(std::move(**bytes), digest);
  if (!entry) return entry.takeError();
  return std::move(*entry);
}

}  // namespace mhcjit::cache
