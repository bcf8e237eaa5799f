#include "cache/location.h"

#include <string_view>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>

namespace mhcjit::cache {

std::string default_root(llvm::function_ref<const char*(const char*)> get_environment) {
  struct Place {
    const char* variable;
    std::string_view below;
  };
  for (const Place& place :
       {Place{"MHCJIT_CACHE_DIR", ""}, Place{"XDG_CACHE_HOME", "/mhcjit"}, Place{"HOME", "/.cache/mhcjit"}}) {
    const char* value = get_environment(place.variable);
    if (value != nullptr && value[0] == '/') return std::string(value).append(place.below);
  }
  return "";
}

std::vector<std::string> default_read_only_roots(llvm::function_ref<const char*(const char*)> get_environment) {
  const char* value = get_environment("MHCJIT_CACHE_RO");
  std::vector<std::string> roots = split_roots(value == nullptr ? "" : value);
  llvm::erase_if(roots, [](const std::string& root) { return root.front() != '/'; });
  return roots;
}

std::vector<std::string> split_roots(llvm::StringRef list) {
  llvm::SmallVector<llvm::StringRef, 4> parts;
  list.split(parts, ':', /*MaxSplit=*/-1, /*KeepEmpty=*/false);
  return {parts.begin(), parts.end()};
}

std::string runtime_folder(llvm::function_ref<const char*(const char*)> get_environment) {
  const char* value = get_environment("XDG_RUNTIME_DIR");
  return value != nullptr && value[0] == '/' ? std::string(value).append("/mhcjit") : "";
}

}  // namespace mhcjit::cache
