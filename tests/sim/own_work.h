// What a thread asks for and waits for itself, as both simulators keep it: copies, products and stores. Each step is
// done when it is asked for or only when it is waited for. What a kernel does wrong between the two shows in one of
// them.
#pragma once

#include <cstddef>
#include <cstring>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

namespace mhcjit::sim {

class OwnWork {
 public:
  void ask(std::function<void()> step) { open_.push_back(std::move(step)); }
  void commit() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  // For all groups but the `pending` youngest.
  void wait(std::size_t pending) {
    while (groups_.size() > pending) {
      for (const auto& step : groups_.front()) step();
      groups_.pop_front();
    }
  }
  // Whether some were never waited for.
  bool is_left() const {
    std::size_t left = open_.size();
    for (const auto& group : groups_) left += group.size();
    return left != 0;
  }

 private:
  std::vector<std::function<void()>> open_;
  std::deque<std::vector<std::function<void()>>> groups_;
};

// Zeros where `from` is nullptr.
inline void copy_or_zeros(std::byte* to, const void* from, std::size_t bytes) {
  if (from != nullptr)
    std::memcpy(to, from, bytes);
  else
    std::memset(to, 0, bytes);
}

}  // namespace mhcjit::sim
