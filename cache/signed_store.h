// A key makes any store one whose files are authenticated: each carries a tag that only a holder of the key can make
// (FORMAT.md). A reader without a key reads the same files and passes over the tags.
#pragma once

#include <memory>
#include <string>

#include "cache/entry_store.h"

namespace mhcjit::cache {

// `store`, but that a file with another key's tag or none is BAD_FILE, and that a file is written with a tag. If
// `hmac_key` is "", `store` itself. Cost of each call: a SHA-256 over the file, about 300 us for 100 KB.
std::unique_ptr<EntryStore> signed_store(std::unique_ptr<EntryStore> store, std::string hmac_key);

// The tag of an entry's bytes, which follows them.
std::string tag_of(llvm::StringRef entry, llvm::StringRef hmac_key);

}  // namespace mhcjit::cache
