// The entries that --match names.
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/store_scan.h"
#include "cache/stored_entry.h"

namespace mhcjit::tools {

class EntryMatch {
 public:
  // A comma list of op=OP, n=N, d=D, dtype=DTYPE, arch=ARCH and at most one prefix of a digest; "" matches every entry.
  // Options of a problem are no terms: problems that differ in them share kernels. Errors: INVALID_ARGUMENT with the
  // term and what is allowed.
  static llvm::Expected<EntryMatch> parse(llvm::StringRef text);

  // True if all terms hold. An entry whose key names no problem has none of the problem's fields.
  bool operator()(llvm::StringRef digest, const cache::StoredEntry& entry) const;

  // True if an entry of this digest may match: spares reading the others.
  bool may_match(llvm::StringRef digest) const { return digest.starts_with(digest_prefix_); }

 private:
  llvm::Error add(llvm::StringRef term);

  std::vector<std::string> words_;  // as the key's field "problem" spells them
  std::string digest_prefix_;
};

// Reads the entries of a scan that `matches` names from the scanned folder's `store`, one at a time. `sound` gets each;
// `bad` gets the name and the reason of each that cannot be read or fails a check, and might have matched.
void for_each_match(
    cache::EntryStore& store, const std::vector<cache::StoredFile>& entries, const EntryMatch& matches,
    llvm::function_ref<void(const std::string& digest, const cache::StoredEntry& entry, const cache::StoredFile& file)>
        sound,
    llvm::function_ref<void(const std::string& name, const std::string& reason)> bad);

}  // namespace mhcjit::tools
