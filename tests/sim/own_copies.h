// Asynchronous copies that a thread waits for itself, as both simulators keep them: each is made when it is asked for
// or only when it is waited for. What a kernel does wrong between the two shows in one of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace mhcjit::sim {

class OwnCopies {
 public:
  // Zeros where `from` is nullptr.
  void ask(std::byte* to, const void* from, std::uint32_t bytes, bool at_once) {
    const Copy copy = {to, from, bytes};
    if (at_once)
      make(copy);
    else
      open_.push_back(copy);
  }
  void commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  // For all groups but the `pending` youngest.
  void wait(std::size_t pending) {
    while (groups_.size() > pending) {
      for (const Copy& copy : groups_.front()) make(copy);
      groups_.pop_front();
    }
  }
  // Whether some were never waited for.
  bool are_left() const {
    std::size_t left = open_.size();
    for (const auto& group : groups_) left += group.size();
    return left != 0;
  }

 private:
  struct Copy {
    std::byte* to;
    const void* from;
    std::uint32_t bytes;
  };

  static void make(const Copy& copy) {
    if (copy.from != nullptr)
      std::memcpy(copy.to, copy.from, copy.bytes);
    else
      std::memset(copy.to, 0, copy.bytes);
  }

  std::vector<Copy> open_;
  std::deque<std::vector<Copy>> groups_;
};

}  // namespace mhcjit::sim
