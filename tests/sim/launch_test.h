// What the tests of the simulator share.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <device/async.cuh>

namespace mhcjit::sim {

inline bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

inline Launch example(int threads, std::size_t shared_bytes = 0, int blocks = 1) {
  return {.kernel = "example",
          .grid_x = static_cast<std::uint32_t>(blocks),
          .threads_per_block = threads,
          .shared_bytes = shared_bytes,
          .cluster_size = blocks};
}

// The fault under each of `seeds` seeds; "" where there was none.
inline std::vector<std::string> faults(Launch launch, const std::function<void()>& body, std::uint64_t seeds = 30) {
  std::vector<std::string> texts;
  for (launch.seed = 0; launch.seed < seeds; ++launch.seed) texts.push_back(run(launch, body));
  return texts;
}

// Whether no seed gave a fault; says which did.
inline ::testing::AssertionResult runs_clean(const Launch& launch, const std::function<void()>& body,
                                             std::uint64_t seeds = 30) {
  const std::vector<std::string> texts = faults(launch, body, seeds);
  for (std::size_t seed = 0; seed < texts.size(); ++seed)
    if (!texts[seed].empty()) return ::testing::AssertionFailure() << "seed " << seed << ": " << texts[seed];
  return ::testing::AssertionSuccess();
}

}  // namespace mhcjit::sim
