// A loop over independent items, shared among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace mhcjit::oracle {

// Calls body(i) once for each i in [0, count), in any order and from several threads.
template <typename Body>
void parallel_for(std::int64_t count, unsigned threads, const Body& body) {
  const std::int64_t wanted = threads != 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
  std::atomic<std::int64_t> next = 0;
  const auto work = [&] {
    for (std::int64_t i = next++; i < count; i = next++) body(i);
  };
  std::vector<std::jthread> others(static_cast<std::size_t>(std::max<std::int64_t>(0, std::min(wanted, count) - 1)));
  for (std::jthread& other : others) other = std::jthread(work);
  work();
}

}  // namespace mhcjit::oracle
