// How many tiles of 16 tokens the tensor cores alone add up.
#pragma once

namespace mhcjit::codegen {

// At each step the tensor cores drop what stands below a sum's last bit: so many tiles are summed before that weighs.
// One pass moves the sums of all its blocks to memory at the same time, which takes 12 us at D 4096; so it does that
// half as often.
inline constexpr int tiles_per_sum_of_portable = 128;
inline constexpr int tiles_per_sum_of_one_pass = 256;

}  // namespace mhcjit::codegen
