// A store keeps the files of entries, each under the digest of its key: a folder (folder_store.h), a server
// (http_store.h), or either with a key (signed_store.h). entry_file.h has the content of a file.
#pragma once

#include <optional>

#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/bytes.h"

namespace mhcjit::cache {

// Every member may be called from any number of threads and processes at the same time.
class EntryStore {
 public:
  virtual ~EntryStore() = default;

  // The file of this digest, or nothing. Its content is not checked, but for a signed store's tag. Errors: IO; BAD_FILE
  // when it is not to be used.
  virtual llvm::Expected<std::optional<Bytes>> read(llvm::StringRef digest) = 0;

  // Makes `file` the file of this digest, whole or not at all. Errors: IO; INVALID_ARGUMENT when the store takes none.
  virtual llvm::Error write(llvm::StringRef digest, llvm::StringRef file) = 0;

  // Success if read() would hand out a file that holds these bytes. Errors: BAD_FILE.
  virtual llvm::Error check(llvm::StringRef) const { return llvm::Error::success(); }
};

}  // namespace mhcjit::cache
