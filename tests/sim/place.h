// Places of kernels' sources, for messages.
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace mhcjit::sim {

using Place = std::source_location;

// "common/sums.cuh": files of different folders may have one name.
inline std::string_view folder_and_name(std::string_view path) {
  const std::size_t name = path.rfind('/');
  if (name == std::string_view::npos || name == 0) return path;
  const std::size_t folder = path.rfind('/', name - 1);
  return folder == std::string_view::npos ? path : path.substr(folder + 1);
}
inline std::string_view file_name(const Place& where) { return folder_and_name(where.file_name()); }

inline bool same_place(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() && file_name(a) == file_name(b);
}

// "common/sums.cuh:47"
inline std::string to_string(const Place& where) {
  return std::string(file_name(where)) + ":" + std::to_string(where.line());
}

}  // namespace mhcjit::sim
