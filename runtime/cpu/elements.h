// Runs of fp32 numbers: read from and written to a tensor of any dtype, multiplied and summed.
//
// The loops are plain so that the compiler vectorises them, and every sum has one order, written here: results have the
// same bits at every vector width (these sources are compiled without contraction into fused operations).
#pragma once

#include <cstdint>

#include "codegen/problem.h"

namespace mhcjit::runtime::cpu {

// Elements [offset, offset + count) of `tensor`.
void load(codegen::DType dtype, const void* tensor, std::int64_t offset, std::int64_t count, float* out);

// Rounds to nearest even once.
void store(codegen::DType dtype, const float* values, std::int64_t count, void* tensor, std::int64_t offset);

// Sum of a[k] * b[k], for runs of at most a few hundred: the caller sums the results of longer ones.
inline double dot(const float* a, const float* b, std::int64_t count) {
  constexpr int lanes = 16;
  float sums[lanes] = {};
  std::int64_t k = 0;
  for (; k + lanes <= count; k += lanes) {
    for (int lane = 0; lane < lanes; ++lane) sums[lane] += a[k + lane] * b[k + lane];
  }
  for (int lane = 0; k + lane < count; ++lane) sums[lane] += a[k + lane] * b[k + lane];
  double total = 0.0;
  for (const float sum : sums) total += sum;
  return total;
}

// sums[k] += factor * values[k]
inline void add_scaled(float factor, const float* values, std::int64_t count, float* sums) {
  for (std::int64_t k = 0; k < count; ++k) sums[k] += factor * values[k];
}

// values[k] *= factors[k]
inline void multiply(const float* factors, std::int64_t count, float* values) {
  for (std::int64_t k = 0; k < count; ++k) values[k] *= factors[k];
}

}  // namespace mhcjit::runtime::cpu
