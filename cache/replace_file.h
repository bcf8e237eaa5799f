// Changes to a folder of files that other processes read at the same time: each is one rename, so that a reader sees
// the state before it or the state after it. Errors: IO, with the system call, the path and the reason.
#pragma once

#include <string>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>
#include <llvm/Support/Error.h>

#include "cache/file_ops.h"

namespace mhcjit::cache {

// Makes the folder and its missing parents with mode 0700. A folder that exists is a success.
llvm::Error make_folder(FileOps& ops, const std::string& path);

// Makes "<folder>/<stem><extension>" a file that holds `bytes`, whatever is there now. `flush`: its bytes reach
// the device before the name does. A loss of power may undo the change, but never leaves the name with less than all
// bytes. After a failure the old file stands, and no temporary is left.
llvm::Error replace_file(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension,
                         llvm::StringRef bytes, bool flush);

// The same for bytes that `fill` writes to the file `fd`, whose path is for its errors.
llvm::Error replace_file(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension,
                         llvm::function_ref<llvm::Error(int fd, const std::string& path)> fill, bool flush);

// Success when a file can be made in the folder now: a temporary of 4 KB is written, flushed and removed.
llvm::Error probe_folder(FileOps& ops, const std::string& folder);

llvm::Error write_all(FileOps& ops, int fd, const std::string& path, llvm::StringRef bytes);

// "<folder>/<stem>.<random><extension>", a name that nothing has yet.
llvm::Expected<std::string> random_path(FileOps& ops, const std::string& folder, const std::string& stem,
                                        llvm::StringRef extension);

// Frees the name "<folder>/<stem><extension>": what is there is renamed to "<folder>/<stem>.<random>.bad", or deleted
// where that fails. Links are moved, not followed. Nothing there is a success.
llvm::Error set_aside(FileOps& ops, const std::string& folder, const std::string& stem, llvm::StringRef extension);

}  // namespace mhcjit::cache
