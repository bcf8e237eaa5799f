// How the CPU operator cuts its work. None of these sizes may depend on T or on the number of threads: the order of
// every sum, and with it every bit, follows from them.
#pragma once

#include <cstdint>

#include "codegen/problem.h"

namespace mhcjit::runtime::cpu {

inline constexpr int max_rows = codegen::max_n * codegen::max_n + 2 * codegen::max_n;

// A tile of tokens shares each read of phi. 512 columns of 8 tokens as fp32 are 16 KiB: they stay in the first-level
// cache beside a row of phi.
inline constexpr std::int64_t tokens_per_tile = 8;
inline constexpr std::int64_t columns_per_chunk = 512;

constexpr std::int64_t blocks_of(std::int64_t count, std::int64_t block) { return (count + block - 1) / block; }

}  // namespace mhcjit::runtime::cpu
