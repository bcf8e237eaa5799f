// Bundles: chosen entries of a cache folder, and the compilers that they come from, as one tar archive (FORMAT.md).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/compiler_record.h"
#include "cache/stored_entry.h"
#include "cache/tar.h"

namespace mhcjit::cache {

// Takes what a bundle is to hold. After a failure it writes no more; write_bundle() returns the failure.
class BundleWriter {
 public:
  BundleWriter(int fd, const std::string& path) : fd_(fd), path_(path) {}

  void add_compilers(const CompilerLines& lines);
  void add(llvm::StringRef digest, const StoredEntry& entry);

  // Ends the archive and returns the first failure. Called by write_bundle().
  llvm::Error finish();

 private:
  void add_member(llvm::StringRef name, llvm::StringRef bytes, std::int64_t unix_seconds);
  void write(llvm::StringRef bytes);

  const int fd_;
  const std::string& path_;
  llvm::Error error_ = llvm::Error::success();
};

// Writes a bundle of what `fill` adds to the new file `fd`, whose path is for errors. The same content gives the same
// bytes. Errors: those of `fill`; IO.
llvm::Error write_bundle(int fd, const std::string& path, llvm::function_ref<llvm::Error(BundleWriter&)> fill);

// Receives a bundle member by member; either function may be left out.
struct BundleVisitor {
  std::function<llvm::Error(const std::string& digest, StoredEntry& entry)> entry;
  std::function<llvm::Error(const CompilerLines& lines)> compilers;
};

// Reads a bundle as if an enemy had made it: nothing but whole, sound entries under their own names, each once, and at
// most one record of compilers; no path, no link. Tags are passed over. Errors: BAD_FILE with the member; those of the
// visitor and the source.
llvm::Error read_bundle(const TarReader::Source& source, const BundleVisitor& visitor);

struct ImportReport {
  std::vector<std::string> imported;  // digests
  std::uint64_t already_there = 0;    // with a sound entry, which stays
  CompilerLines compilers;            // of the bundle, which the folder records now
};

// Adds the bundle's entries to the folder `root`, which is made when it is absent, and whose entries are `store`; the
// bundle's compilers are added to the folder's. A bundle in which anything is wrong, or in which an entry is none that
// the store would hand out, changes nothing. Doing it again changes nothing. Others may use the folder meanwhile.
// `dry_run`: the same report, and nothing changes. Errors: those of read_bundle(), with the bundle's path; BAD_FILE
// when the folder is not to be trusted; IO.
llvm::Expected<ImportReport> import_bundle(const std::string& path, const std::string& root, EntryStore& store,
                                           bool dry_run);

}  // namespace mhcjit::cache
