// The file of an entry, in a folder or on a server: the entry's bytes, then a tag where there is a key (FORMAT.md).
#pragma once

#include <cstddef>
#include <string>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/bytes.h"
#include "cache/cache_key.h"
#include "cache/entry.h"

namespace mhcjit::cache {

inline constexpr llvm::StringLiteral tag_magic("MHCJIT-HMAC-256\n");
inline constexpr std::size_t tag_bytes = 48;
inline constexpr std::size_t max_entry_file_bytes = max_entry_bytes + tag_bytes;

// The entry's bytes in a file with or without a tag. Reads any bytes safely and checks none of them.
llvm::StringRef without_tag(llvm::StringRef file);

// The file's entry, after every check: the format; that it is this key's and for this architecture; the cubins' tables.
// A tag is passed over: a signed store has checked it (signed_store.h). The entry's cubins are parts of the file's
// bytes. Reads any bytes safely. Cost: about 12 us for 100 KB. Errors: BAD_FILE with the field, what it holds and what
// it should hold.
llvm::Expected<Entry> read_entry_file(const Bytes& file, const CacheKey& key, llvm::StringRef architecture);

// The bytes that read_entry_file() takes for `entry`, without a tag. Errors: BAD_FILE when it would refuse them.
llvm::Expected<std::string> make_entry_file(const Entry& entry, const CacheKey& key);

}  // namespace mhcjit::cache
