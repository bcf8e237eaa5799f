#include "cache/location.h"

#include <string_view>

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

}  // namespace mhcjit::cache
