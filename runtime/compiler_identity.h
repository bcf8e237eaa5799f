// The identity of the compiler that a cubin comes from. A cache key needs it whether or not the compiler is here:
//
//   - With NVRTC on the machine, the identity is read from its two files, without loading them.
//   - Behind it come those that a read-only cache folder records. If the search finds no NVRTC, it is each of those
//     that a cache folder records: a process that compiles into a folder adds its own. A cache that was warmed
//     elsewhere and shipped is thus hit on a machine that has no NVRTC, whichever compiler an entry comes from; a miss
//     is an error there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <llvm/Support/Error.h>

#include "runtime/nvrtc_location.h"

namespace mhcjit::runtime {

struct CompilerIdentity {
  int major = 0;
  int minor = 0;
  std::string library_id;   // GNU build-id of libnvrtc
  std::string builtins_id;  // GNU build-id of libnvrtc-builtins

  bool operator==(const CompilerIdentity&) const = default;
};

// "nvrtc 13.0 <build-id> <build-id>": the key's field, and the line that a cache folder records.
std::string to_string(const CompilerIdentity& identity);
std::optional<CompilerIdentity> parse_identity(std::string_view text);

// Cost: about ten system calls. Errors: NO_NVRTC (a file is not a library with a build-id).
llvm::Expected<CompilerIdentity> identify(const NvrtcLocation& location);

// The identities that the cache folder `root` records, the newest version first, in a regular file of this user or
// root.
std::vector<CompilerIdentity> recorded_identities(const std::string& root);

// Adds `identity` to those that `root` records. A failure (IO) costs no more than the ability to use its entries on a
// machine without NVRTC.
llvm::Error record_identity(const std::string& root, const CompilerIdentity& identity);

// The options of every compile, sorted. They are part of the cache key, so none has a path or a side effect, and they
// follow from the version alone. `architecture` is "sm_90a".
std::vector<std::string> compile_options(std::string_view architecture, const CompilerIdentity& identity);

}  // namespace mhcjit::runtime
