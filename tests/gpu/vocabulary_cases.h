// What the vocabulary's kernels for tensor cores, barriers, copies and clusters are run on: in the simulator by
// vocabulary_host_test.cpp, and on a device to compare the two.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "vocabulary.h"

namespace mhcjit::gpu {

using Words = std::vector<std::uint32_t>;

struct Operands {
  Words a, b, c;
  std::uint32_t count = 0;  // VocabularyPointers::count
  std::size_t results = 0;
};

// What results are before a kernel.
inline constexpr std::uint32_t unwritten = 0xffffffff;

struct VocabularyCase {
  std::string kernel;
  LaunchShape shape;
  Operands operands;
};

// Floats of normal distribution.
Words random_normals(std::size_t count, std::uint32_t seed);

// Words of which every bit is defined, but for the payloads of NaN.
std::vector<VocabularyCase> matrix_cases();

// Results and slots of blocks that run at the same time.
VocabularyCase exchange_case();

// Fragments of 32 warps. `element` is "bf16" or "fp16", `depth` 8 or 16.
VocabularyCase multiply_add_case(const std::string& element, unsigned depth, std::uint32_t seed);

// Fragments of as many warps for one product of each warp group.
VocabularyCase wgmma_case(const std::string& element, unsigned columns, std::uint32_t seed);

// The same with every element's magnitude: what its results bound.
VocabularyCase magnitudes_of(VocabularyCase item);

struct AsyncCase {
  std::string name;
  std::string kernel;
  LaunchShape shape;
  Operands operands;
  std::optional<BoxedTensor> tensor = {};  // whose elements are operands.a, or the results if it is an output
  std::array<std::int32_t, 3> first = {};
  bool is_output = false;

  std::int32_t box_bytes() const { return tensor ? static_cast<std::int32_t>(tensor->box_bytes()) : 0; }
  // The results as they are before the kernel: operands.b is what an output is before.
  Words initial_results() const;
};

std::vector<AsyncCase> async_cases();

// Runs in the simulator; `fault` receives what went wrong.
Words run_case_on_host(const VocabularyCase& item, std::string& fault);
Words run_case_on_host(const AsyncCase& item, std::string& fault);

}  // namespace mhcjit::gpu
