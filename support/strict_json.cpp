#include "support/strict_json.h"

#include <vector>

#include <llvm/ADT/StringExtras.h>
#include <llvm/ADT/StringSet.h>

#include "support/error.h"

namespace mhcjit {
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
class Check {
 public:
  Check(llvm::StringRef subject, llvm::StringRef json, std::size_t max_depth)
      : subject_(subject), json_(json), max_depth_(max_depth) {}

  llvm::Error run() {
    for (; at_ < json_.size(); ++at_)
      if (auto error = check_token(json_[at_])) return error;
    return llvm::Error::success();
  }

 private:
  // Leaves at_ on the token's last byte.
  llvm::Error check_token(char first) {
    switch (first) {
      case '{':
      case '[': return open_level();
      case '}':
      case ']':
        if (!levels_.empty()) levels_.pop_back();
        return llvm::Error::success();
      case '"': return check_string();
      default: return llvm::isDigit(first) || is_mark(first) ? check_number() : llvm::Error::success();
    }
  }

  llvm::Error open_level() {
    if (levels_.size() == max_depth_)
      return make_error(MHCJIT_ERROR_BAD_FILE, "{} nests deeper than the {} levels of the format at byte {}",
                        subject_.str(), max_depth_, at_);
    levels_.emplace_back();
    return llvm::Error::success();
  }

  llvm::Error check_string() {
    const std::size_t start = at_;
    for (++at_; at_ < json_.size() && json_[at_] != '"'; ++at_)
      if (json_[at_] == '\\') ++at_;
    if (at_ >= json_.size() || levels_.empty() || !json_.substr(at_ + 1).ltrim(" \t\r\n").starts_with(":"))
      return llvm::Error::success();
    llvm::Expected<llvm::json::Value> name = llvm::json::parse(json_.slice(start, at_ + 1));
    if (!name) {
      llvm::consumeError(name.takeError());
      return llvm::Error::success();
    }
    if (levels_.back().insert(*name->getAsString()).second) return llvm::Error::success();
    return make_error(MHCJIT_ERROR_BAD_FILE, "{} has the name {} twice, allowed: once", subject_.str(),
                      quoted(*name->getAsString()));
  }

  llvm::Error check_number() {
    const llvm::StringRef number =
        json_.substr(at_).take_while([](char c) { return llvm::isDigit(c) || is_mark(c) || c == 'e' || c == 'E'; });
    if (!is_number(number))
      return make_error(MHCJIT_ERROR_BAD_FILE,
                        "{} is not JSON: the number {} at byte {}, allowed: one such as 2, -2.5 or 1e-6",
                        subject_.str(), quoted(number), at_);
    at_ += number.size() - 1;
    return llvm::Error::success();
  }

  static bool is_mark(char c) { return c == '+' || c == '-' || c == '.'; }

  const llvm::StringRef subject_, json_;
  const std::size_t max_depth_;
  std::size_t at_ = 0;
  std::vector<llvm::StringSet<>> levels_;  // the names of each
};

}  // namespace

llvm::Expected<llvm::json::Value> parse_strict_json(llvm::StringRef subject, llvm::StringRef text,
                                                    std::size_t max_depth) {
  if (auto error = Check(subject, text, max_depth).run()) return error;
  llvm::Expected<llvm::json::Value> json = llvm::json::parse(text);
  if (json) return json;
  return make_error(MHCJIT_ERROR_BAD_FILE, "{} is not JSON: {}", subject.str(), llvm::toString(json.takeError()));
}

std::string quoted(llvm::StringRef name) {
  std::string text = "'";
  for (const char c : name.take_front(80)) text += c >= ' ' && c != '\x7f' ? c : '?';
  return text + (name.size() > 80 ? "...'" : "'");
}

}  // namespace mhcjit
