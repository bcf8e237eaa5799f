// The entries of a folder, as FORMAT.md lays them out.
#pragma once

#include <memory>
#include <string>

#include "cache/checked_file.h"
#include "cache/entry_store.h"
#include "cache/file_ops.h"

namespace mhcjit::cache {

inline constexpr llvm::StringLiteral entry_extension(".mhcjit");

struct FolderAccess {
  Trust trust = Trust::owner;        // in the entries; the folder itself is the caller's to check
  Recency recency = Recency::keep;   // what a read leaves behind
  bool flush = true;                 // entries reach the device before their names do
  FileOps& ops = FileOps::system();  // outlives the store
};

// Touches no file. A write needs the folder.
std::unique_ptr<EntryStore> folder_store(std::string root, FolderAccess access = {});

// Makes the folder, with its parents, where it is absent. Success when it may be used. Errors: BAD_FILE when it is none
// or not to be trusted; IO.
llvm::Error open_folder(FileOps& ops, const std::string& root, Trust trust);

// With a key it is the tags that are trusted, whoever may write the folder.
Trust trust_with(llvm::StringRef hmac_key);

// The entries of the folder `root` as its user reads and writes them; signed where `hmac_key` is not "".
std::unique_ptr<EntryStore> open_folder_store(std::string root, const std::string& hmac_key);

}  // namespace mhcjit::cache
