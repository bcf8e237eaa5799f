// Rows of garbage, such as serving engines pad batches with: whatever stands in one token's inputs must change no bit
// of another token's outputs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "mhcjit/mhcjit.h"

namespace mhcjit::oracle {

enum class Garbage { nan, infinity, minus_infinity, largest_finite };

inline constexpr std::array all_garbage = {Garbage::nan, Garbage::infinity, Garbage::minus_infinity,
                                           Garbage::largest_finite};
const char* to_string(Garbage garbage);

// Puts garbage into a tensor of `dtype` that has a row for each of `tokens` tokens, at least 49: into a row alone, into
// one element of another, into eight rows in succession and into the last row. Each has others within eight tokens.
void put_garbage(Garbage garbage, std::int64_t tokens, mhcjit_dtype dtype, std::vector<double>& tensor);

// Rows of an output that put_garbage() did not touch in the inputs, and that differ from those of a call without
// garbage.
std::vector<std::int64_t> changed_rows(std::span<const std::byte> clean, std::span<const std::byte> output,
                                       std::int64_t tokens);

}  // namespace mhcjit::oracle
