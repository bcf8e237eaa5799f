// The least that a call must move to and from device memory: every input read once and every output written once, the
// saved intermediates among them.
#pragma once

#include <cstddef>

#include "codegen/problem.h"

namespace mhcjit::bench {

std::size_t floor_bytes(const codegen::Problem& problem, std::int64_t tokens);

// Sets of tensors of so many bytes among which calls have to rotate for none to find its own in an L2 cache of
// `l2_bytes`: at least two, and no more than are quickly made.
int cold_sets(std::size_t bytes, std::size_t l2_bytes);

}  // namespace mhcjit::bench
