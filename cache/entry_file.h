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

inline constexpr std::size_t tag_bytes = 48;
inline constexpr std::size_t max_entry_file_bytes = max_entry_bytes + tag_bytes;

// The entry's bytes in a file with or without a tag. Reads any bytes safely and checks none of them.
llvm::StringRef without_tag(llvm::StringRef file);

// The tag of an entry's bytes, which follows them.
std::string tag_of(llvm::StringRef entry, llvm::StringRef hmac_key);

// Success when `hmac_key` is "", or the file's tag is made with it. Reads any bytes safely. Errors: BAD_FILE.
llvm::Error check_tag(llvm::StringRef file, llvm::StringRef hmac_key);

// The file's entry, after every check: that of the tag, when `hmac_key` is not ""; the format; that it is this key's
// and for this architecture; the cubins' tables. The entry's cubins are parts of the file's bytes. Reads any bytes
// safely. Without a key a tag is not looked at. Cost: about 12 us for 100 KB, 300 us with a key. Errors: BAD_FILE with
// the field, what it holds and what it should hold.
llvm::Expected<Entry> read_entry_file(const Bytes& file, const CacheKey& key, llvm::StringRef architecture,
                                      llvm::StringRef hmac_key);

// The bytes that read_entry_file() takes for `entry`. Errors: BAD_FILE when it would refuse them.
llvm::Expected<std::string> make_entry_file(const Entry& entry, const CacheKey& key, llvm::StringRef hmac_key);

}  // namespace mhcjit::cache
