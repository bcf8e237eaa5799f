// NVTX ranges in the domain "mhcjit" show a profiler what the library is doing.
#pragma once

#include <string>

namespace mhcjit::runtime {

// A range of the calling thread for as long as the object lives: "compile OPERATOR n=4 D=4096 bf16 sm_90a". It costs a
// comparison if no tool listens. The first one of a process asks for a tool as NVTX does: in the variable
// NVTX_INJECTION64_PATH. Does nothing in a build without NVTX's headers.
class ProfilerRange {
 public:
  ProfilerRange(const char* step, const std::string& problem);
  ProfilerRange(const ProfilerRange&) = delete;
  ProfilerRange& operator=(const ProfilerRange&) = delete;
  ~ProfilerRange();

 private:
  const bool pushed_;
};

}  // namespace mhcjit::runtime
