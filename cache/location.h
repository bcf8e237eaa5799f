// Where caches live when the host does not say, read from the environment. `get_environment` answers like getenv().
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>

namespace mhcjit::cache {

// $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit, else "" (no disk cache). A variable that is
// empty or not an absolute path is passed over: the answer never depends on the current folder.
std::string default_root(llvm::function_ref<const char*(const char*)> get_environment);

// The absolute paths in $MHCJIT_CACHE_RO, a colon list. Others are passed over.
std::vector<std::string> default_read_only_roots(llvm::function_ref<const char*(const char*)> get_environment);

// The parts of a colon list that are not empty.
std::vector<std::string> split_roots(llvm::StringRef list);

// A folder of this user on this machine: $XDG_RUNTIME_DIR/mhcjit, else "".
std::string runtime_folder(llvm::function_ref<const char*(const char*)> get_environment);

}  // namespace mhcjit::cache
