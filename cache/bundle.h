// Bundles: chosen entries of a cache folder, and the compiler that they are for, as one tar archive (FORMAT.md).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/stored_entry.h"
#include "cache/tar.h"

namespace mhcjit::cache {

// The file of a cache folder, and the member of a bundle, that names the compiler in one line.
inline constexpr llvm::StringLiteral compiler_record_name("compiler_identity");

// The line in the folder `root`, without its newline; nothing when there is none or it is no such line.
std::optional<std::string> read_compiler_record(const std::string& root);

// Takes what a bundle is to hold. After a failure it writes no more; write_bundle() returns the failure.
class BundleWriter {
 public:
  BundleWriter(int fd, const std::string& path) : fd_(fd), path_(path) {}

  void add_compiler(llvm::StringRef line);
  void add(llvm::StringRef digest, const StoredEntry& entry);

  // What follows the last member, then the first failure. Called by write_bundle().
  llvm::Error finish();

 private:
  void add_member(llvm::StringRef name, llvm::StringRef bytes, std::int64_t unix_seconds);
  void write(llvm::StringRef bytes);

  const int fd_;
  const std::string& path_;
  llvm::Error error_ = llvm::Error::success();
};

// Makes `path` a bundle of what `fill` adds: whole or not at all. The same content gives the same bytes. Errors: those
// of `fill`; IO; INVALID_ARGUMENT when `path` is something else than a regular file.
llvm::Error write_bundle(const std::string& path, llvm::function_ref<llvm::Error(BundleWriter&)> fill);

// What a bundle holds, member by member; either may be left out.
struct BundleVisitor {
  std::function<llvm::Error(const std::string& digest, StoredEntry& entry)> entry;
  std::function<llvm::Error(const std::string& line)> compiler;
};

// Reads a bundle as if an enemy had made it: nothing but whole, sound entries under their own names, each once, and at
// most one compiler's line; no path, no link. With a `hmac_key` that is not "" each entry's tag must be made with it.
// Errors: BAD_FILE with the member; those of the visitor and the source.
llvm::Error read_bundle(const TarReader::Source& source, const BundleVisitor& visitor, llvm::StringRef hmac_key = "");

struct ImportReport {
  std::vector<std::string> imported;  // digests
  std::uint64_t already_there = 0;    // with a sound entry, which stays
  std::string compiler;               // the line that the folder records now, or ""
};

// Adds the bundle's entries to the folder `root`, which is made when it is absent; the bundle's compiler becomes the
// folder's. A bundle in which anything is wrong changes nothing. Doing it again changes nothing. Others may use the
// folder meanwhile. `dry_run`: the same report, and nothing changes. With a `hmac_key` that is not "" an entry that the
// folder has is sound only with a tag that is made with it. Errors: those of read_bundle(), with the bundle's path;
// BAD_FILE when the folder is not to be trusted; IO.
llvm::Expected<ImportReport> import_bundle(const std::string& path, const std::string& root, bool dry_run,
                                           llvm::StringRef hmac_key = "");

}  // namespace mhcjit::cache
