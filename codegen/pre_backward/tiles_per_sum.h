// How many tiles of 16 tokens the tensor cores alone add up.
#pragma once

namespace mhcjit::codegen {

// At each step the tensor cores drop what stands below a sum's last bit: so many tiles are summed before that weighs.
inline constexpr int tiles_per_sum = 128;

}  // namespace mhcjit::codegen
