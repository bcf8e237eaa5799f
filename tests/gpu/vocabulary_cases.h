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

struct VocabularyCase {
  std::string kernel;
  LaunchShape shape;
  Operands operands;
};

// Floats of normal distribution.
Words random_normals(std::size_t count, std::uint32_t seed);

// Words of which every bit is defined, but for the payloads of NaN.
std::vector<VocabularyCase> matrix_cases();

// Fragments of 32 warps. `kernel` is multiply_add_bf16 or multiply_add_fp16.
VocabularyCase multiply_add_case(const std::string& kernel, std::uint32_t seed);

// Fragments of as many warps for one product of each warp group. `element` is "bf16" or "fp16".
VocabularyCase wgmma_case(const std::string& element, unsigned columns, std::uint32_t seed);

// The same with every element's magnitude: what its results bound.
VocabularyCase magnitudes_of(VocabularyCase item);

struct AsyncCase {
  std::string name;
  std::string kernel;
  LaunchShape shape;
  Operands operands;
  std::optional<BoxedTensor> tensor = {};  // whose elements are operands.a
  std::array<std::int32_t, 3> first = {};
};

std::vector<AsyncCase> async_cases();

// Runs in the simulator; `fault` receives what went wrong.
Words run_case_on_host(const VocabularyCase& item, std::string& fault);
Words run_case_on_host(const AsyncCase& item, std::string& fault);

}  // namespace mhcjit::gpu
