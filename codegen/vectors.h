// How loads and threads share out a stream of x.
#pragma once

#include "codegen/problem.h"

namespace mhcjit::codegen {

// Elements of x in one load: up to 16 bytes, and no load crosses from one stream into the next.
int vec_size_of(const Problem& problem);

// Threads that work on one token, in whole warps, of a block of `threads_per_block`, a power of two.
int threads_per_token_of(const Problem& problem, int vec_size, int threads_per_block);

}  // namespace mhcjit::codegen
