// Bytes read from a file or a server; their parts are not copied.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <llvm/ADT/StringRef.h>

namespace mhcjit::cache {

// Bytes that nobody changes any more. A copy and a part share their memory, which lives as long as the last of them.
// The memory of whole bytes is aligned as that of operator new.
class Bytes {
 public:
  Bytes() = default;

  Bytes(std::string bytes) {
    auto owner = std::make_shared<const std::string>(std::move(bytes));
    view_ = *owner;
    owner_ = std::move(owner);
  }

  Bytes(std::unique_ptr<char[]> bytes, std::size_t size)
      : view_(bytes.get(), size), owner_(std::shared_ptr<const char[]>(std::move(bytes))) {}

  // `view` lies within these bytes.
  Bytes part(llvm::StringRef view) const {
    Bytes result;
    result.view_ = view;
    result.owner_ = owner_;
    return result;
  }

  operator llvm::StringRef() const { return view_; }
  const char* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }
  std::string str() const { return view_.str(); }

  bool operator==(const Bytes& other) const { return view_ == other.view_; }

 private:
  llvm::StringRef view_;
  std::shared_ptr<const void> owner_;
};

}  // namespace mhcjit::cache
