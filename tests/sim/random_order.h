// Orders drawn from a seed, the same on every platform.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace mhcjit::sim {

// xorshift64*: a few instructions, since one number is drawn for each switch between threads.
class RandomOrder {
 public:
  explicit RandomOrder(std::uint64_t seed) : state_(seed * 2 + 0x9e3779b97f4a7c15) {}

  // A number in [0, count).
  std::size_t below(std::size_t count) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::size_t>(((state_ * 0x2545f4914f6cdd1d) >> 32) * count >> 32);
  }

  std::vector<std::uint64_t> permutation(std::uint64_t count) {
    std::vector<std::uint64_t> order(count);
    std::iota(order.begin(), order.end(), std::uint64_t{0});
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i)]);
    return order;
  }

 private:
  std::uint64_t state_;
};

}  // namespace mhcjit::sim
