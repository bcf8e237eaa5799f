// Places of caches that the host does not name, read from the environment. `get_environment` answers like getenv().
#pragma once

#include <string>
#include <vector>

#include <llvm/ADT/STLFunctionalExtras.h>
#include <llvm/ADT/StringRef.h>

namespace mhcjit::cache {

// A place that is not used, since it is not an absolute path: where it lies would depend on the current folder.
struct PassedOver {
  std::string variable;
  std::string path;
};

// "MHCJIT_CACHE_DIR is 'kernels', allowed: ..."
std::string to_string(const PassedOver& place);

// $MHCJIT_CACHE_DIR, else $XDG_CACHE_HOME/mhcjit, else $HOME/.cache/mhcjit, else "" (no disk cache). Adds to
// `passed_over` what stands before it.
std::string default_root(llvm::function_ref<const char*(const char*)> get_environment,
                         std::vector<PassedOver>& passed_over);

// The absolute paths in $MHCJIT_CACHE_RO, a colon list. Adds the others to `passed_over`.
std::vector<std::string> default_read_only_roots(llvm::function_ref<const char*(const char*)> get_environment,
                                                 std::vector<PassedOver>& passed_over);

// The parts of a colon list that are not empty.
std::vector<std::string> split_roots(llvm::StringRef list);

// A folder of this user on this machine: $XDG_RUNTIME_DIR/mhcjit, else "".
std::string runtime_folder(llvm::function_ref<const char*(const char*)> get_environment);

}  // namespace mhcjit::cache
