// Memory that runs out when a test says so: the allocations of a program that links scarce_memory.cpp, its libraries'
// included. Not for the sanitizers, which allocate in ways of their own.
#pragma once

#include <cstdint>

namespace mhcjit::test {

constexpr std::int64_t endless = INT64_MAX;

// From now on `first` allocations succeed, the `count` after them fail and the others succeed, whatever their thread.
void fail_allocations(std::int64_t first, std::int64_t count);

// Allocations since, the failed ones included.
std::int64_t allocations();

}  // namespace mhcjit::test
