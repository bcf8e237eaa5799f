// Where the cache lives when the host does not say.
#pragma once

#include <string>

#include <llvm/ADT/STLFunctionalExtras.h>

namespace mhcjit::cache {

// $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit, else "" (no disk cache). A variable that is
// empty or not an absolute path is passed over: the answer never depends on the current folder. `get_environment`
// answers like getenv().
std::string default_root(llvm::function_ref<const char*(const char*)> get_environment);

}  // namespace mhcjit::cache
