#include "tools/strict_json.h"

#include <vector>

#include <llvm/ADT/StringSet.h>

#include "support/error.h"

namespace mhcjit::tools {
namespace {

// llvm::json::parse recurses once per level and keeps the last of two members of one name, so both are refused before
// it runs. Text that is not JSON passes here and fails there.
llvm::Error check_nesting_and_names(llvm::StringRef subject, llvm::StringRef json, std::size_t max_depth) {
  std::vector<llvm::StringSet<>> levels;
  for (std::size_t at = 0; at < json.size(); ++at) {
    const char c = json[at];
    if (c == '{' || c == '[') {
      if (levels.size() == max_depth)
        return make_error(MHCJIT_ERROR_BAD_FILE, "{} nests deeper than the {} levels of the format at byte {}",
                          subject.str(), max_depth, at);
      levels.emplace_back();
    } else if ((c == '}' || c == ']') && !levels.empty()) {
      levels.pop_back();
    } else if (c == '"') {
      const std::size_t start = at;
      for (++at; at < json.size() && json[at] != '"'; ++at)
        if (json[at] == '\\') ++at;
      if (at >= json.size() || levels.empty() || !json.substr(at + 1).ltrim(" \t\r\n").starts_with(":")) continue;
      llvm::Expected<llvm::json::Value> name = llvm::json::parse(json.slice(start, at + 1));
      if (!name) {
        llvm::consumeError(name.takeError());
        continue;
      }
      if (!levels.back().insert(*name->getAsString()).second)
        return make_error(MHCJIT_ERROR_BAD_FILE, "{} has the name {} twice, allowed: once", subject.str(),
                          quoted(*name->getAsString()));
    }
  }
  return llvm::Error::success();
}

}  // namespace

llvm::Expected<llvm::json::Value> parse_strict_json(llvm::StringRef subject, llvm::StringRef text,
                                                    std::size_t max_depth) {
  if (auto error = check_nesting_and_names(subject, text, max_depth)) return error;
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (json) return json;
  return make_error(MHCJIT_ERROR_BAD_FILE, "{} is not JSON: {}", subject.str(), llvm::toString(json.takeError()));
}

std::string quoted(llvm::StringRef name) {
  std::string text = "'";
  for (const char c : name.take_front(80)) text += c >= ' ' && c != '\x7f' ? c : '?';
  return text + (name.size() > 80 ? "...'" : "'");
}

}  // namespace mhcjit::tools
