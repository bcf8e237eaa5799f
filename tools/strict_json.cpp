#include "tools/strict_json.h"

#include <vector>

#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringSet.h>

#include "support/error.h"

namespace mhcjit::tools {
namespace {

// 02, +1, .5 and 1. are none, though llvm::json::parse takes them.
bool is_number(llvm::StringRef text) {
  const auto drop_digits = [&text] {
    const std::size_t count = text.take_while(llvm::isDigit).size();
    text = text.drop_front(count);
    return count;
  };
  text.consume_front("-");
  const bool starts_with_zero = text.starts_with("0");
  const std::size_t digits = drop_digits();
  if (digits == 0 || (starts_with_zero && digits > 1)) return false;
  if (text.consume_front(".") && drop_digits() == 0) return false;
  if (text.consume_front_insensitive("e")) {
    if (!text.consume_front("-")) text.consume_front("+");
    if (drop_digits() == 0) return false;
  }
  return text.empty();
}

// llvm::json::parse recurses once per level, keeps the last of two members of one name and takes numbers that are none,
// so these are refused before it runs. Other text that is not JSON passes here and fails there.
llvm::Error check_before_parsing(llvm::StringRef subject, llvm::StringRef json, std::size_t max_depth) {
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
    } else if (llvm::isDigit(c) || c == '-' || c == '+' || c == '.') {
      const llvm::StringRef number = json.substr(at).take_while(
          [](char each) { return llvm::isDigit(each) || llvm::StringRef("+-.eE").contains(each); });
      if (!is_number(number))
        return make_error(MHCJIT_ERROR_BAD_FILE,
                          "{} is not JSON: the number {} at byte {}, allowed: one such as 2, -2.5 "
                          "or 1e-6",
                          subject.str(), quoted(number), at);
      at += number.size() - 1;
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
  if (auto error = check_before_parsing(subject, text, max_depth)) return error;
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
