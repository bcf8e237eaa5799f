// How many pieces of a size hold a count.
#pragma once

#include <cstdint>

namespace mhcjit::codegen {

constexpr std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }

}  // namespace mhcjit::codegen
