// What one process of warm_cache_test.cpp does.
#pragma once

namespace mhcjit::gpu {

inline constexpr char prepare_option[] = "--prepare-with-cache";

// Prepares both operators of one problem on device 0 with the cache in `folder`, runs nothing, and prints
// "disk_hits misses" and the seconds that it took. Returns the exit code of the process.
int prepare_with(const char* folder);

}  // namespace mhcjit::gpu
