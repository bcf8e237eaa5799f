// Places of kernels' sources, for messages.
#pragma once

#include <source_location>
#include <string>
#include <string_view>

namespace mhcjit::sim {

using Place = std::source_location;

inline std::string_view file_name(const Place& where) {
  const std::string_view path = where.file_name();
  return path.substr(path.rfind('/') + 1);
}

inline bool same_place(const Place& a, const Place& b) {
  return a.line() == b.line() && a.column() == b.column() && file_name(a) == file_name(b);
}

// "sums.cuh:47"
inline std::string to_string(const Place& where) {
  return std::string(file_name(where)) + ":" + std::to_string(where.line());
}

}  // namespace mhcjit::sim
