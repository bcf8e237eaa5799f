#include "cache/location.h"

#include <string_view>
#include <utility>

#include <fmt/format.h>
#include <llvm/ADT/SmallVector.h>

namespace mhcjit::cache {

std::string to_string(const PassedOver& place) {
  return fmt::format("{} is '{}', allowed: an absolute path{}; it is not used", place.variable, place.path,
                     place.path.starts_with('~') ? " (no shell has replaced the ~: write $HOME)" : "");
}

std::string default_root(llvm::function_ref<const char*(const char*)> get_environment,
                         std::vector<PassedOver>& passed_over) {
  struct Place {
    const char* variable;
    std::string_view below;
  };
  for (const Place& place :
       {Place{"MHCJIT_CACHE_DIR", ""}, Place{"XDG_CACHE_HOME", "/mhcjit"}, Place{"HOME", "/.cache/mhcjit"}}) {
    const char* value = get_environment(place.variable);
    if (value == nullptr || value[0] == '\0') continue;
    if (value[0] == '/') return std::string(value).append(place.below);
    passed_over.push_back({place.variable, value});
  }
  return "";
}

std::vector<std::string> default_read_only_roots(llvm::function_ref<const char*(const char*)> get_environment,
                                                 std::vector<PassedOver>& passed_over) {
  constexpr const char* variable = "MHCJIT_CACHE_RO";
  const char* value = get_environment(variable);
  std::vector<std::string> roots;
  for (std::string& root : split_roots(value == nullptr ? "" : value)) {
    if (root.front() == '/')
      roots.push_back(std::move(root));
    else
      passed_over.push_back({variable, std::move(root)});
  }
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
