// An entry as it lies in a folder or in a bundle, known by its name alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/bytes.h"
#include "cache/entry.h"
#include "cache/entry_store.h"
#include "cache/key_text.h"

namespace mhcjit::cache {

// The digest in "<digest>.mhcjit", or nothing when `name` is not an entry's.
std::optional<std::string> digest_of_name(llvm::StringRef name);

struct StoredEntry {
  Bytes bytes;  // the whole file, its tag too
  Entry entry;
  std::vector<KeyField> fields;  // of entry.key_text
};

// `bytes` as the entry of this digest, with every check that needs no question to compare with: the format, the digest
// of the key text, the architecture that the key names, the cubins. A tag is passed over. Reads any bytes safely.
// Errors: BAD_FILE.
llvm::Expected<StoredEntry> check_stored_entry(Bytes bytes, llvm::StringRef digest);

// The entry of this digest in the store, or nothing when there is none. Errors: BAD_FILE as above; those of the store.
llvm::Expected<std::optional<StoredEntry>> read_stored_entry(EntryStore& store, llvm::StringRef digest);

}  // namespace mhcjit::cache
