// Folders and files that are used only after a check of what they are and whose.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include <llvm/Support/Error.h>

#include "cache/bytes.h"
#include "cache/file_ops.h"

namespace mhcjit::cache {

// Others who may own or write a folder or a file that is used.
enum class Trust {
  owner,     // owned by this user or root, and a folder is writable by its owner alone
  everyone,  // no check
  secret     // as owner, and a file is open to its owner alone
};

// False when nothing is at `path`. Errors: BAD_FILE when it is no folder, or not to be trusted; IO when a system call
// failed, with the call, the path and the reason.
llvm::Expected<bool> check_folder(FileOps& ops, const std::string& path, Trust trust);

// The effect of a read on the file's modification time.
enum class Recency {
  keep,  // nothing
  touch  // now, when it is off by more than an hour: the file was used. Not being allowed to is no failure
};

// The bytes of the regular file at `path`, or nothing when nothing is there. A link is never followed and a FIFO never
// waited for. Errors: BAD_FILE for both, for a file of more than `max_bytes` and for one not to be trusted; IO as
// above.
llvm::Expected<std::optional<Bytes>> read_file(FileOps& ops, const std::string& path, std::size_t max_bytes,
                                               Trust trust, Recency recency = Recency::keep);

}  // namespace mhcjit::cache
