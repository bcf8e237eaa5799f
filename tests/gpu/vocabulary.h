// The kernels of vocabulary_kernels.cuh, vocabulary_async_kernels.cuh and vocabulary_wgmma_kernels.cuh, for the device
// as text and on the host as functions. Each kernel's entry is "vocabulary_" and its name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "launch_shape.h"
#include "mhcjit/mhcjit.h"

namespace mhcjit::gpu {

// Laid out as VocabularyArgs of vocabulary_kernels.cuh, which sees no header of the host's.
struct VocabularyPointers {
  const std::uint32_t* a = nullptr;
  const std::uint32_t* b = nullptr;
  const std::uint32_t* c = nullptr;
  std::uint32_t* result = nullptr;
  std::uint32_t count = 0;
};

// Laid out as AsyncVocabularyArgs of vocabulary_async_kernels.cuh.
struct AsyncVocabularyPointers {
  VocabularyPointers pointers;
  std::array<std::int32_t, 3> first = {};  // element of the box
  std::int32_t box_bytes = 0;
  alignas(64) std::array<std::byte, 128> map = {};
};

// A tensor in three dimensions, the innermost first, from or to which boxes are copied.
struct BoxedTensor {
  std::array<std::uint64_t, 3> sizes = {};
  std::array<std::uint64_t, 2> strides = {};  // bytes
  std::array<std::uint32_t, 3> box = {};
  std::uint32_t swizzle_bytes = 0;  // 64 or 128; 0: none
  mhcjit_dtype dtype = MHCJIT_BF16;

  std::uint32_t element_bytes() const { return dtype == MHCJIT_FP32 ? 4 : 2; }
  std::uint32_t box_bytes() const { return box[0] * box[1] * box[2] * element_bytes(); }
};

inline constexpr unsigned vocabulary_threads = 128;  // block_threads there

extern const char* const vocabulary_source;        // compute capability 8.0 and newer
extern const char* const async_vocabulary_source;  // and those of asynchronous copies; 9.0 and newer
extern const char* const wgmma_vocabulary_source;  // and those of warp groups; 9.0a

// Run the kernel in the host simulator on host memory. Return the fault, or "".
std::string run_on_host(const std::string& kernel, const LaunchShape& shape, const VocabularyPointers& pointers);
std::string run_async_on_host(const std::string& kernel, const LaunchShape& shape,
                              const AsyncVocabularyPointers& pointers);

// Writes the tensor's map as the simulator reads it. Returns why it cannot be, or "".
std::string encode_on_host(const BoxedTensor& tensor, const void* base, std::array<std::byte, 128>& map);

}  // namespace mhcjit::gpu
