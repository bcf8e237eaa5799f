// Tells a forked child that something its parent started (CUDA, threads) is not usable in it.
#pragma once

#include <cstdint>

namespace mhcjit::runtime {

// Number of forks between this process and the one that first asked. An object that cannot survive a fork remembers the
// value it was made under and compares. Cost: one load. The first call installs a fork handler.
std::uint32_t fork_generation();

}  // namespace mhcjit::runtime
