// What a thread has found where others write: it waits for them when it finds the same again.
#pragma once

#include <map>
#include <utility>

#include "simulator.h"

namespace mhcjit::sim {

class FoundWords {
 public:
  // Whether the thread has found the same there before.
  bool again(const std::uint32_t* address, const Words& value) {
    const auto [entry, is_first] = values_.try_emplace(address, value);
    return std::exchange(entry->second, value) == value && !is_first;
  }

 private:
  std::map<const std::uint32_t*, Words> values_;
};

}  // namespace mhcjit::sim
