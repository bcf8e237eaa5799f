// The number of tiles of 16 tokens that the tensor cores add up alone.
#pragma once

namespace mhcjit::codegen {

// At each step the tensor cores drop what stands below a sum's last bit, so that a sum has at most this many tiles. One
// pass moves the sums of all its blocks to memory at the same time, which takes 12 us at D 4096. It therefore does that
// half as often.
inline constexpr int tiles_per_sum_of_portable = 128;
inline constexpr int tiles_per_sum_of_one_pass = 256;

}  // namespace mhcjit::codegen
