// The kernels of vocabulary_kernels.cuh, for the device as text and on the host as functions. Each kernel's entry is
// "vocabulary_" and its name.
#pragma once

#include <cstdint>
#include <string>

#include "launch_shape.h"

namespace mhcjit::gpu {

// Laid out as VocabularyArgs of vocabulary_kernels.cuh, which sees no header of the host's.
struct VocabularyPointers {
  const std::uint32_t* a = nullptr;
  const std::uint32_t* b = nullptr;
  const std::uint32_t* c = nullptr;
  std::uint32_t* result = nullptr;
  std::uint32_t count = 0;
};

inline constexpr unsigned vocabulary_threads = 128;  // block_threads there

extern const char* const vocabulary_source;

// Runs the kernel in the host simulator on host memory. Returns the fault, or "".
std::string run_on_host(const std::string& kernel, const LaunchShape& shape, const VocabularyPointers& pointers);

}  // namespace mhcjit::gpu
